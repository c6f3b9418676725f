"""The contract that every strategy keeps, and the exact definitions of the margin and of DBAL."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng

from strategies import (
    STRATEGIES,
    Candidates,
    CandidatesError,
    margin_sum,
    margins,
    select,
    select_diverse,
    silent,
)


def make(n: int, seed: int = 0, d: int = 8) -> Candidates:
    rng = default_rng(seed)
    return Candidates(tuple(f"img{i:03d}" for i in range(n)), rng.uniform(0.1, 5, n), rng.normal(size=(n, d)))


@pytest.fixture(params=sorted(STRATEGIES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_picks_k_distinct_indices(name: str) -> None:
    picked = select(name, make(50), 7, default_rng(0))
    assert len(picked) == len(set(picked.tolist())) == 7
    assert picked.dtype == np.int64
    assert picked.min() >= 0
    assert picked.max() < 50


def test_k_larger_than_the_pool_takes_all(name: str) -> None:
    assert sorted(select(name, make(5), 9, default_rng(0))) == [0, 1, 2, 3, 4]


def test_all_zero_weights(name: str) -> None:
    zeros = Candidates(make(30).ids, np.zeros(30), make(30).embeddings)
    assert len(set(select(name, zeros, 6, default_rng(0)).tolist())) == 6


def test_fewer_weights_than_k(name: str) -> None:
    uncertainty = np.zeros(30)
    uncertainty[:2] = 1.0
    few = Candidates(make(30).ids, uncertainty, make(30).embeddings)
    assert len(set(select(name, few, 6, default_rng(0)).tolist())) == 6


def test_duplicates(name: str) -> None:
    same = Candidates(make(20).ids, np.ones(20), np.ones((20, 4)))
    assert len(set(select(name, same, 5, default_rng(0)).tolist())) == 5


def test_one_candidate(name: str) -> None:
    assert select(name, make(1), 3, default_rng(0)).tolist() == [0]


def test_same_seed_same_picks(name: str) -> None:
    first, second = (select(name, make(60), 10, default_rng(3)) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_the_order_of_the_pool_does_not_matter(name: str) -> None:
    pool = make(40)
    order = default_rng(1).permutation(40)
    shuffled = Candidates(tuple(pool.ids[i] for i in order), pool.uncertainty[order], pool.embeddings[order])
    first = {pool.ids[i] for i in select(name, pool, 8, default_rng(0))}
    second = {shuffled.ids[i] for i in select(name, shuffled, 8, default_rng(0))}
    assert first == second


def test_picks_change_when_scores_change() -> None:
    pool = make(60)
    inverted = Candidates(pool.ids, pool.uncertainty.max() - pool.uncertainty, pool.embeddings)
    for strategy in set(STRATEGIES) - {"random"}:
        before = set(select(strategy, pool, 10, default_rng(0)).tolist())
        assert before != set(select(strategy, inverted, 10, default_rng(0)).tolist()), strategy


def test_random_changes_with_the_seed() -> None:
    assert set(select("random", make(60), 10, default_rng(0))) != set(
        select("random", make(60), 10, default_rng(1))
    )


@pytest.mark.parametrize("field", ["uncertainty", "embeddings"])
def test_nan_is_refused_by_name(field: str) -> None:
    arrays = {"uncertainty": np.ones(3), "embeddings": np.ones((3, 2))}
    arrays[field][1] = np.nan
    with pytest.raises(CandidatesError, match=f"{field} must be finite; candidate 'b'"):
        Candidates(("a", "b", "c"), **arrays)


def test_negative_uncertainty_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(CandidatesError, match="must be >= 0"):
        Candidates(("a",), np.array([-1.0]), np.ones((1, 2)))
    with pytest.raises(CandidatesError, match=r"shape \(2,\)"):
        Candidates(("a", "b"), np.ones(3), np.ones((2, 2)))
    with pytest.raises(CandidatesError, match="distinct"):
        Candidates(("a", "a"), np.ones(2), np.ones((2, 2)))


def test_bad_arguments() -> None:
    with pytest.raises(CandidatesError, match="dbal, margin, random"):
        select("nope", make(3), 1, default_rng(0))
    with pytest.raises(CandidatesError, match="k must be >= 1, got 0"):
        select("random", make(3), 0, default_rng(0))
    with pytest.raises(CandidatesError, match="beta"):
        select("dbal", make(3), 1, default_rng(0), beta=0.5)


def test_margin_by_hand_several_classes() -> None:
    # Largest two, background (last) included: 0.6 - 0.3, 0.5 - 0.5, 0.9 - 0.1.
    distributions = np.array([[0.6, 0.1, 0.3], [0.5, 0.0, 0.5], [0.1, 0.9, 0.0]])
    np.testing.assert_allclose(margins(distributions), [0.7, 1.0, 0.2])
    # Image 0 has the first two, image 1 none, image 2 the last.
    np.testing.assert_allclose(margin_sum(distributions, np.array([0, 2, 2, 3])), [1.7, 0.0, 0.2])


def test_margin_by_hand_one_class_uses_the_background() -> None:
    np.testing.assert_allclose(margins(np.array([[0.9, 0.1], [0.55, 0.45]])), [0.2, 0.9])
    with pytest.raises(CandidatesError, match="background"):
        margins(np.array([[1.0], [1.0]]))


def test_margin_takes_the_largest_and_breaks_ties_by_id() -> None:
    pool = Candidates(("c", "b", "a", "d"), np.array([1.0, 3.0, 1.0, 2.0]), np.zeros((4, 1)))
    assert [pool.ids[i] for i in select("margin", pool, 3, default_rng(0))] == ["b", "d", "a"]


def test_dbal_prefilters_and_takes_one_of_each_cluster() -> None:
    # Two tight groups of uncertain images, and far away a group that beta * k leaves out.
    points = np.array([[0, 0], [0.1, 0], [10, 10], [10.1, 10], [-50, 50], [-50, 51]], dtype=float)
    uncertainty = np.array([5.0, 1.1, 4.0, 1.2, 0.5, 0.4])
    pool = Candidates(tuple("abcdef"), uncertainty, points)
    # The weighted centre of (0, 0.1) with weights (5, 1.1) is 0.018: nearest is a; likewise c.
    assert {pool.ids[i] for i in select("dbal", pool, 2, default_rng(0))} == {"a", "c"}
    # With beta = 3 all six take part, and the far group may be a cluster of its own.
    wide = {pool.ids[i] for i in select("dbal", pool, 3, default_rng(0), beta=2)}
    assert wide & set("ab")
    assert wide & set("cd")
    assert wide & set("ef")


def test_dbal_with_beta_one_is_margin() -> None:
    pool = make(40)
    dbal = select("dbal", pool, 9, default_rng(0), beta=1)
    assert dbal.tolist() == select("margin", pool, 9, default_rng(0)).tolist()


def test_silent_and_diverse() -> None:
    points = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]])
    pool = Candidates(tuple("abcde"), np.array([0.0, 0.0, 0.0, 0.0, 2.0]), points)
    assert silent(pool).tolist() == [0, 1, 2, 3]
    picked = {pool.ids[i] for i in select_diverse(pool, 3, default_rng(0))}
    assert len(picked & set("ab")) == len(picked & set("cd")) == len(picked & {"e"}) == 1
