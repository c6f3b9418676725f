"""Statistics over seeds, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from al_loop.benchmark.results.statistics import (
    area,
    cost_to_reach,
    one_sided_p,
    over_seeds,
    paired_difference,
    verdict,
)


def test_area_is_the_mean_height() -> None:
    assert area([0, 50, 100], [0.2, 0.2, 0.2]) == pytest.approx(0.2)
    assert area([0, 100], [0.0, 0.4]) == pytest.approx(0.2)
    assert area([0, 20, 100], [0.0, 0.4, 0.4]) == pytest.approx((20 * 0.2 + 80 * 0.4) / 100)
    assert area([25], [0.3]) == 0.3


def test_an_area_between_two_costs() -> None:
    assert area([0, 100], [0.0, 1.0], (20, 40)) == pytest.approx(0.3)
    assert area([0, 50, 100], [0.0, 0.5, 0.5], (25, 75)) == pytest.approx((25 * 0.375 + 25 * 0.5) / 50)
    # Two points at one cost, as where a cycle picked nothing new.
    assert area([0, 50, 50], [0.0, 0.4, 0.6], (0, 50)) == pytest.approx(0.2)
    assert area([5, 5, 9], [0.2, 0.4, 0.9], (5, 5)) == pytest.approx(0.3)


def test_the_cost_at_which_a_curve_reaches_a_target() -> None:
    costs, values = [0, 25, 50], [0.1, 0.2, 0.4]
    assert cost_to_reach(costs, values, 0.3) == pytest.approx(37.5)
    assert cost_to_reach(costs, values, 0.05) == 0
    assert cost_to_reach(costs, values, 0.4) == 50
    assert cost_to_reach(costs, values, 0.41) is None
    # A curve that falls back counts where it was there first.
    assert cost_to_reach([0, 10, 20], [0.0, 0.5, 0.1], 0.25) == pytest.approx(5)


@pytest.mark.parametrize(("seeds", "t"), [(2, 12.706), (3, 4.303), (17, 2.120), (30, 2.045)])
def test_an_interval_over_seeds_is_by_the_t_table(seeds: int, t: float) -> None:
    """The table of Student's t at 0.975 and 1, 2, 16 and 29 degrees of freedom."""
    values = np.linspace(0.1, 0.3, seeds)
    error = values.std(ddof=1) / np.sqrt(seeds)
    interval = over_seeds(values.tolist())
    assert interval.mean == pytest.approx(0.2)
    assert interval.error == pytest.approx(error)
    assert interval.low == pytest.approx(0.2 - t * error, abs=5e-4 * error)
    assert interval.high == pytest.approx(0.2 + t * error, abs=5e-4 * error)


def test_one_seed_has_no_interval() -> None:
    alone = over_seeds([0.4])
    assert (alone.mean, alone.low, alone.high, alone.error) == (0.4, None, None, None)


def test_a_one_sided_test_by_hand() -> None:
    """Differences 1, 2, 3: t = 2 / (1 / √3) = 3.464 with two degrees of freedom, p = 0.0371 above."""
    assert one_sided_p([2, 4, 6], [1, 2, 3]) == pytest.approx(0.0371, abs=5e-5)
    assert one_sided_p([1, 2, 3], [2, 4, 6]) == pytest.approx(1 - 0.0371, abs=5e-5)
    assert one_sided_p([1.0], [0.0]) is None
    assert [one_sided_p([a, a], [1, 1]) for a in (2, 0, 1)] == [0.0, 1.0, 0.5]


def test_what_seeds_have_in_common_cancels() -> None:
    ours = {0: 0.50, 1: 0.30, 2: 0.41, 3: 0.72}
    theirs = {seed: value - 0.01 for seed, value in ours.items()}
    interval = paired_difference(ours, theirs | {9: 0.0})
    assert interval.seeds == 4
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.01, 0.01, 0.01))


@pytest.mark.integration
def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        difference = rng.normal(0.02, 0.01, 12)
        interval = paired_difference(dict(enumerate(difference)), dict.fromkeys(range(12), 0.0), trial)
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= 0.02 <= interval.high
    assert 182 <= hits <= 198  # 190 on the average, with a deviation of 3


def test_two_seeds_prove_nothing_however_alike() -> None:
    interval = paired_difference({0: 0.383, 1: 0.381}, {0: 0.365, 1: 0.363})
    assert interval.mean == pytest.approx(0.018)
    wide = paired_difference({0: 0.388, 1: 0.378}, {0: 0.365, 1: 0.363})
    assert wide.low is not None
    assert wide.low < 0 < wide.mean
    assert "no evidence of a difference at 2 seeds" in verdict("dbal", "random", wide)


def test_a_difference_in_words() -> None:
    same = dict.fromkeys(range(5), 0.3)
    assert verdict("dbal", "random", paired_difference(dict.fromkeys(range(5), 0.35), same)).endswith(
        "5 seeds): better"
    )
    assert verdict("dbal", "random", paired_difference(dict.fromkeys(range(5), 0.25), same)).endswith(
        "5 seeds): worse"
    )
    wild = {0: 0.2, 1: 0.4, 2: 0.3, 3: 0.1, 4: 0.5}
    assert verdict("dbal", "random", paired_difference(wild, same)).endswith(
        "no evidence of a difference at 5 seeds"
    )
    assert "one seed, which says nothing about chance" in verdict(
        "a", "b", paired_difference({0: 0.4}, {0: 0.3})
    )
    with pytest.raises(ValueError, match="a seed in common"):
        paired_difference({0: 0.1}, {1: 0.1})
