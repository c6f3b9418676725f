"""The contract that every strategy keeps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.random import default_rng
from support.candidate_pools import detections, make

from strategies import STRATEGIES, Candidates, CandidatesError, Detections, select


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


def test_k_of_the_whole_pool_and_one_less(name: str) -> None:
    assert len(set(select(name, make(12), 11, default_rng(0)).tolist())) == 11
    assert sorted(select(name, make(12), 12, default_rng(0))) == list(range(12))


def test_an_empty_pool(name: str) -> None:
    assert select(name, make(0), 3, default_rng(0)).tolist() == []


def test_images_without_a_detection(name: str) -> None:
    silent = dataclasses.replace(
        make(30),
        uncertainty=np.zeros(30),
        detections=detections(30, most=0),
        augmented=(detections(30, most=0),),
    )
    assert len(set(select(name, silent, 6, default_rng(0)).tolist())) == 6


def test_fewer_images_with_a_detection_than_k(name: str) -> None:
    few = make(30)
    assert few.detections is not None
    counts = np.zeros(30, np.int64)
    counts[[3, 7]] = 2
    cut = few.detections.subset(np.arange(30))
    rows = np.arange(4)
    seen = Detections(
        np.concatenate([[0], np.cumsum(counts)]),
        *(getattr(cut, f)[rows] for f in ("distributions", "labels", "scores", "boxes", "features")),
    )
    weights = np.zeros(30)
    weights[[3, 7]] = 1.0
    pool = dataclasses.replace(few, uncertainty=weights, detections=seen, augmented=(seen,))
    assert len(set(select(name, pool, 6, default_rng(0)).tolist())) == 6


def test_duplicates(name: str) -> None:
    one = detections(1, seed=3, most=3)
    same = Candidates(
        tuple(f"i{n:02d}" for n in range(20)),
        np.ones(20),
        np.ones((20, 4)),
        one.subset(np.zeros(20, np.int64)),
        np.ones((2, 4)),
        np.ones(3),
        (one.subset(np.zeros(20, np.int64)),),
    )
    assert len(set(select(name, same, 5, default_rng(0)).tolist())) == 5


def test_one_candidate(name: str) -> None:
    assert select(name, make(1), 3, default_rng(0)).tolist() == [0]


def test_nothing_is_labelled_yet(name: str) -> None:
    fresh = dataclasses.replace(
        make(25), labelled=None, labelled_classes=None, class_quality=None, count_r2=None
    )
    assert len(set(select(name, fresh, 6, default_rng(0)).tolist())) == 6


def test_same_seed_same_picks(name: str) -> None:
    first, second = (select(name, make(60), 10, default_rng(3)) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_the_order_of_the_pool_does_not_matter(name: str) -> None:
    pool = make(40)
    shuffled = pool.subset(default_rng(1).permutation(40))
    first = {pool.ids[i] for i in select(name, pool, 8, default_rng(0))}
    second = {shuffled.ids[i] for i in select(name, shuffled, 8, default_rng(0))}
    assert first == second


def test_single_precision_features(name: str) -> None:
    pool = make(40)
    coarse = dataclasses.replace(pool, embeddings=pool.embeddings.astype(np.float16))
    assert len(set(select(name, coarse, 8, default_rng(0)).tolist())) == 8


def test_what_it_needs_is_what_it_reads(name: str) -> None:
    pool, needs = make(30), STRATEGIES[name].needs
    poor = dataclasses.replace(
        pool,
        detections=pool.detections if "detections" in needs else None,
        augmented=pool.augmented if "augmented" in needs else (),
        labelled=pool.labelled if "labelled" in needs else None,
        count_r2=pool.count_r2 if "count_r2" in needs else None,
    )
    assert select(name, poor, 5, default_rng(0)).tolist() == select(name, pool, 5, default_rng(0)).tolist()
    if "detections" in needs:
        with pytest.raises(CandidatesError, match="needs the detections"):
            select(name, dataclasses.replace(pool, detections=None), 5, default_rng(0))


def test_its_docstring_says_what_it_costs_and_where_it_is_from(name: str) -> None:
    said = STRATEGIES[name].pick.__doc__ or ""
    assert "Cost: O(" in said
    assert "memory" in said
    assert "Source: " in said or "A control: " in said


@pytest.mark.parametrize("field", ["uncertainty", "embeddings"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_by_name(field: str, wrong: float) -> None:
    arrays = {"uncertainty": np.ones(3), "embeddings": np.ones((3, 2))}
    arrays[field][1] = wrong
    with pytest.raises(CandidatesError, match=f"{field} must be finite; candidate 'b'"):
        Candidates(("a", "b", "c"), **arrays)


def test_large_numbers_are_finite() -> None:
    assert len(Candidates(("a", "b"), np.ones(2), np.full((2, 3), 3e38, np.float32))) == 2


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
    for change, said in (
        ({"offsets": good.offsets + 1}, "offsets must rise"),
        ({"labels": good.labels[1:]}, "labels must have shape"),
        ({"boxes": good.boxes[:, :3]}, "boxes must have shape"),
        ({"distributions": good.distributions[:, :1]}, "background"),
        ({"scores": good.scores * np.nan}, "scores must be finite"),
    ):
        with pytest.raises(CandidatesError, match=said):
            dataclasses.replace(good, **change)


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
