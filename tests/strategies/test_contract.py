"""The contract that every strategy keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import default_rng
from support.candidate_pools import detections, make

from strategies import STRATEGIES, Candidates, CandidatesError, Detections, select

#: Pools that every strategy must pick from, and k. Of strategies that differ in a score alone, one is enough.
ONE_OF_EACH = sorted(
    set(STRATEGIES) - {name for name in STRATEGIES if name.endswith(("-max", "-mean"))} - {"least-confidence"}
)


COLUMNS = ("distributions", "labels", "scores", "boxes", "features", "mask_margins")


def without_detections() -> Candidates:
    none = detections(30, most=0)
    return dataclasses.replace(make(30), uncertainty=np.zeros(30), detections=none, augmented=(none,))


def few_with_detections() -> Candidates:
    """Two images of 30 with detections: fewer than k."""
    many, counts, uncertainty = detections(30), np.zeros(30, np.int64), np.zeros(30)
    counts[[3, 7]], uncertainty[[3, 7]] = 2, 1.0
    few = Detections(
        np.concatenate([[0], np.cumsum(counts)]),
        *(getattr(many, name)[:4] for name in COLUMNS),
    )
    return dataclasses.replace(make(30), uncertainty=uncertainty, detections=few, augmented=(few,))


def duplicates() -> Candidates:
    same = detections(1, seed=3, most=3).subset(np.zeros(20, np.int64))
    return Candidates(
        tuple(f"i{n:02d}" for n in range(20)),
        np.ones(20),
        np.ones((20, 4)),
        same,
        np.ones((2, 4)),
        np.ones(3),
        (same,),
    )


def nothing_labelled() -> Candidates:
    return dataclasses.replace(
        make(25),
        labelled=None,
        labelled_classes=None,
        class_quality=None,
        count_r2=None,
        calibration=None,
    )


def half_precision() -> Candidates:
    pool = make(40)
    return dataclasses.replace(pool, embeddings=pool.embeddings[:].astype(np.float16))


POOLS: dict[str, tuple[Callable[[], Candidates], int]] = {
    "usual": (lambda: make(50), 7),
    "k larger than the pool": (lambda: make(5), 9),
    "all but one": (lambda: make(12), 11),
    "empty": (lambda: make(0), 3),
    "one candidate": (lambda: make(1), 3),
    "without detections": (without_detections, 6),
    "few with detections": (few_with_detections, 6),
    "duplicates": (duplicates, 5),
    "nothing labelled": (nothing_labelled, 6),
    "half precision": (half_precision, 8),
}


@pytest.mark.integration
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_picks_k_distinct_indices_of_any_pool(name: str) -> None:
    for what, (pool, k) in POOLS.items():
        candidates = pool()
        picked = select(name, candidates, k, default_rng(0))
        assert picked.dtype == np.int64, what
        assert len(picked) == len(set(picked.tolist())) == min(k, len(candidates)), what
        assert set(picked.tolist()) <= set(range(len(candidates))), what


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_same_picks_whatever_the_order_of_the_pool(name: str) -> None:
    pool = make(40)
    shuffled = pool.subset(default_rng(1).permutation(40))
    first, second = (
        [some.ids[i] for i in select(name, some, 8, default_rng(0))] for some in (pool, shuffled)
    )
    assert set(first) == set(second)
    assert first == [pool.ids[i] for i in select(name, pool, 8, default_rng(0))]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_what_it_needs_is_what_it_reads(name: str) -> None:
    pool, needs = make(30), STRATEGIES[name].needs
    assert pool.detections is not None
    without_masks = dataclasses.replace(pool.detections, mask_margins=None)
    shown = pool.detections if "masks" in needs else without_masks
    poor = dataclasses.replace(
        pool,
        detections=shown if "detections" in needs else None,
        augmented=pool.augmented if "augmented" in needs else (),
        labelled=pool.labelled if "labelled" in needs else None,
        count_r2=pool.count_r2 if "count_r2" in needs else None,
        calibration=pool.calibration if "calibration" in needs else None,
    )
    assert select(name, poor, 5, default_rng(0)).tolist() == select(name, pool, 5, default_rng(0)).tolist()
    if "detections" in needs:
        with pytest.raises(CandidatesError, match="needs the detections"):
            select(name, dataclasses.replace(pool, detections=None), 5, default_rng(0))
    if "masks" in needs:
        with pytest.raises(CandidatesError, match="needs the masks of the detections of every candidate"):
            select(name, dataclasses.replace(pool, detections=without_masks), 5, default_rng(0))


def test_every_docstring_gives_cost_and_source() -> None:
    for name, strategy in STRATEGIES.items():
        text = strategy.pick.__doc__ or ""
        assert "Cost: O(" in text, name
        assert "memory" in text, name
        assert "Source: " in text or "A baseline: " in text, name


@pytest.mark.parametrize("field", ["uncertainty", "embeddings"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_by_name(field: str, wrong: float) -> None:
    arrays = {"uncertainty": np.ones(3), "embeddings": np.ones((3, 2))}
    arrays[field][1] = wrong
    pool = Candidates(("a", "b", "c"), **arrays)
    with pytest.raises(CandidatesError, match=f"{field} must be finite; candidate 'b'"):
        select("margin", pool, 1, default_rng(0))


def test_large_numbers_are_finite() -> None:
    Candidates(("a", "b"), np.ones(2), np.full((2, 3), 3e38, np.float32)).check_finite()


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(CandidatesError, match="must be >= 0"):
        Candidates(("a",), np.array([-1.0]), np.ones((1, 2)))
    with pytest.raises(CandidatesError, match=r"shape \(2,\)"):
        Candidates(("a", "b"), np.ones(3), np.ones((2, 2)))
    with pytest.raises(CandidatesError, match="distinct, got 1 repeated"):
        Candidates(("a", "a"), np.ones(2), np.ones((2, 2)))
    with pytest.raises(CandidatesError, match="detections must be of 2 images"):
        Candidates(("a", "b"), np.ones(2), np.ones((2, 2)), detections(3))
    with pytest.raises(CandidatesError, match=r"labelled must have shape \(l, 2\)"):
        Candidates(("a", "b"), np.ones(2), np.ones((2, 2)), labelled=np.ones((1, 3)))
    for wrong in (-0.1, 1.1, np.nan):
        with pytest.raises(CandidatesError, match=r"count_r2 must be in \[0, 1\], got"):
            dataclasses.replace(make(3), count_r2=wrong)
    good = detections(3)
    for change, message in (
        ({"offsets": good.offsets + 1}, "offsets must rise"),
        ({"labels": good.labels[1:]}, "labels must have shape"),
        ({"boxes": good.boxes[:, :3]}, "boxes must have shape"),
        ({"distributions": good.distributions[:, :1]}, "background"),
        ({"mask_margins": np.zeros(1)}, "mask_margins must have shape"),
    ):
        with pytest.raises(CandidatesError, match=message):
            dataclasses.replace(good, **change)
    with pytest.raises(CandidatesError, match="scores must be finite"):
        dataclasses.replace(good, scores=good.scores * np.nan).check_finite()
    with pytest.raises(CandidatesError, match="mask_margins must be finite"):
        dataclasses.replace(good, mask_margins=good.scores * np.nan).check_finite()


def test_bad_arguments() -> None:
    with pytest.raises(CandidatesError, match=r"unknown strategy 'nope'; there are badge, .*dbal.*random"):
        select("nope", make(3), 1, default_rng(0))
    with pytest.raises(CandidatesError, match="k must be >= 1, got 0"):
        select("random", make(3), 0, default_rng(0))
    with pytest.raises(CandidatesError, match="beta"):
        select("dbal", make(3), 1, default_rng(0), beta=0.5)
    with pytest.raises(CandidatesError, match="pool"):
        select("ppal", make(3), 1, default_rng(0), pool=0.5)
    with pytest.raises(CandidatesError, match="augmented copies"):
        select("cald", dataclasses.replace(make(3), augmented=()), 1, default_rng(0))


def test_a_subset_keeps_what_belongs_to_each_image() -> None:
    pool = make(20)
    assert pool.detections is not None
    chosen = pool.subset(np.array([7, 2, 2 + 9]))
    assert chosen.ids == (pool.ids[7], pool.ids[2], pool.ids[11])
    assert chosen.detections is not None
    for mine, theirs in ((0, 7), (1, 2), (2, 11)):
        np.testing.assert_array_equal(
            chosen.detections.scores[chosen.detections.of(mine)],
            pool.detections.scores[pool.detections.of(theirs)],
        )
        assert chosen.detections.mask_margins is not None is not pool.detections.mask_margins
        np.testing.assert_array_equal(
            chosen.detections.mask_margins[chosen.detections.of(mine)],
            pool.detections.mask_margins[pool.detections.of(theirs)],
        )
