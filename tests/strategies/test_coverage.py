"""`coverage` by hand: what objects add, what labels cover already, and when count R² decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng
from support.candidate_pools import detections_of, names, points

from strategies import Candidates, CandidatesError, select
from strategies.coverage import class_mass, greedy, select_coverage
from strategies.objects import objects


def test_an_object_between_two_classes_counts_once() -> None:
    """Boxes 0 and 1 overlap by 0.8, whatever their classes; 2 does not; image 1 has the same box alone."""
    boxes = [[0, 0, 10, 10], [0, 0, 10, 8], [50, 0, 60, 10], [0, 0, 10, 10]]
    shares = [[0.4, 0.5, 0.1], [0.5, 0.45, 0.05], [0.3, 0.3, 0.4], [0.4, 0.5, 0.1]]
    detections = detections_of([0, 3, 4], shares, scores=[0.4, 0.5, 0.3, 0.5], boxes=boxes)
    assert objects(detections).tolist() == [1, 2, 3]
    assert objects(detections, overlap=0.9).tolist() == [0, 1, 2, 3]
    pool = points([0, 1], detections=detections)
    # Margins 0.95, 0.9 and 0.9, shared out by class.
    np.testing.assert_allclose(
        class_mass(pool), [[0.95 * 0.5 + 0.9 * 0.3, 0.95 * 0.45 + 0.9 * 0.3], [0.9 * 0.4, 0.9 * 0.5]]
    )


def test_greedy_gains_shrink_as_columns_fill() -> None:
    """Rows (4, 0), (3, 0), (0, 2): first √4; then √2 beats √7 − √4; then the last one left."""
    parts = np.array([[4.0, 0], [3, 0], [0, 2]])
    assert greedy(parts, np.zeros(2), np.ones(2), 3).tolist() == [0, 2, 1]
    # Nine of the first column are known: 13^½ − 3 < 2^½.
    assert greedy(parts, np.array([9.0, 0]), np.ones(2), 1).tolist() == [2]
    assert greedy(parts, np.zeros(2), np.array([1.0, 0.1]), 2).tolist() == [0, 1]


def test_lazy_gains_pick_what_all_gains_would() -> None:
    rng = default_rng(0)
    parts, base = rng.random((60, 7)) * (rng.random((60, 7)) < 0.4), rng.random(7) * 3
    total, expected = base.copy(), list[int]()
    for _ in range(20):
        gains = (np.sqrt(total + parts) - np.sqrt(total)).sum(axis=1)
        gains[expected] = -1
        expected.append(int(gains.argmax()))
        total += parts[expected[-1]]
    assert greedy(parts, base, np.ones(7), 20).tolist() == expected


def test_coverage_asks_for_the_class_that_labels_lack() -> None:
    """Two images alike but for the class of their object; people have drawn a hundred of the first."""
    detections = detections_of([0, 1, 2], [[0.5, 0.1, 0.4], [0.1, 0.5, 0.4]])
    pool = points([0, 0], detections=detections, labelled_classes=np.array([100.0, 0]), count_r2=1.0)
    assert names(pool, select_coverage(pool, 1, default_rng(0))) == ["b"]
    other = points([0, 0], detections=detections, labelled_classes=np.array([0.0, 100]), count_r2=1.0)
    assert names(other, select_coverage(other, 1, default_rng(0))) == ["a"]


def test_coverage_keeps_away_from_labelled_looks() -> None:
    """Alike in what they show; labels lie where a, b and c do. Without the looks the first name decides."""
    pool = points(
        [0, 0.1, 0.2, 9, 9.1],
        detections=detections_of(range(6), [[0.5, 0.1, 0.4]] * 5),
        labelled=np.array([[0.05], [0.15]]),
        labelled_classes=np.array([5.0, 5]),
        count_r2=1.0,
    )
    assert names(pool, select_coverage(pool, 2, default_rng(0)))[0] == "d"
    assert names(pool, select_coverage(pool, 2, default_rng(0), cluster_weight=0)) == ["a", "b"]
    with pytest.raises(CandidatesError, match="cluster_weight must be >= 0, got -1"):
        select_coverage(pool, 2, default_rng(0), cluster_weight=-1)


def test_coverage_looks_at_the_most_uncertain_of_a_large_pool() -> None:
    n = 2100
    weights = np.arange(n, dtype=float)
    pool = Candidates(
        tuple(f"{i:05d}" for i in range(n)),
        weights,
        default_rng(0).normal(size=(n, 3)),
        detections_of(np.arange(n + 1), np.tile([0.5, 0.1, 0.4], (n, 1))),
        count_r2=1.0,
    )
    assert select_coverage(pool, 5, default_rng(0)).min() >= 100


def test_coverage_believes_a_detector_that_counts() -> None:
    """Two looks with a middle each; between them a single image that has all that is unsure."""
    pool = points(
        np.concatenate([np.linspace(0, 1, 11), [20.0], np.linspace(40, 41, 11)]),
        uncertainty=[0.0] * 11 + [3.0] + [0.0] * 11,
        detections=detections_of([0] * 12 + [3] * 12, [[0.5, 0.1, 0.4]] * 3),
    )
    typical = names(pool, select("typiclust", pool, 2, default_rng(0)))
    assert set(typical) == {"f", "r"}
    for known in (None, 0.0, 0.49):
        assert names(pool, select_coverage(replace(pool, count_r2=known), 2, default_rng(0))) == typical
    for known in (0.5, 1.0):
        assert names(pool, select_coverage(replace(pool, count_r2=known), 2, default_rng(0)))[0] == "l"


def test_coverage_asks_a_sample_of_a_large_pool_what_is_typical() -> None:
    n = 10_500
    pool = Candidates(
        tuple(f"{i:05d}" for i in range(n)),
        np.zeros(n),
        default_rng(0).normal(size=(n, 2)),
        detections_of(np.zeros(n + 1, np.int64), np.zeros((0, 3))),
        count_r2=0.0,
    )
    first, again = (select_coverage(pool, 4, default_rng(0)) for _ in range(2))
    assert first.tolist() == again.tolist()
    assert len(set(first.tolist())) == 4
