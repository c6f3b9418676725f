"""`calibrated` by hand: refuted boxes count for nothing, rare classes and new looks more, and time costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng
from support.candidate_pools import detections_of, names, points

from strategies import Calibration, Candidates, CandidatesError, Prices, select
from strategies.calibrated import entropy, expected, price, select_calibrated

EVEN = Calibration(1.0, (0.0, 0.0), 0.9, 0.0, 0.0)
SHARES = [[0.5, 0.1, 0.4], [0.1, 0.5, 0.4]]


def apart(count: int) -> list[list[float]]:
    """Return boxes in a row that do not overlap."""
    return [[20.0 * i, 0, 20.0 * i + 10, 10] for i in range(count)]


def test_mass_and_price_by_hand() -> None:
    """Boxes of 0.5 and 0.75 in the first image, a sure one in the second, none in the third."""
    shares = [[0.5, 0.25, 0.25], [0.0, 0.75, 0.25], [0.9, 0.0, 0.1]]
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 10]]
    detections = detections_of([0, 2, 3, 3], shares, scores=[0.5, 0.75, 0.9], boxes=boxes)
    calibration = replace(EVEN, missed_per_image=0.2, missed_per_object=1.0)
    mass, costs = expected(detections, calibration, Prices(image=10, confirm=2, delete=3, draw=7))
    u = entropy(np.array([0.5, 0.75, 0.9]))
    assert u[0] == pytest.approx(np.log(2))
    np.testing.assert_allclose(mass, [[u[0] * 2 / 3, u[0] / 3 + u[1]], [u[2], 0], [0, 0]])
    found = np.array([1.25, 0.9, 0.0])
    np.testing.assert_allclose(costs, 10 + 2 * found + 3 * (np.array([2, 1, 0]) - found) + 7 * (0.2 + found))
    assert expected(detections, calibration, None)[1].tolist() == [1, 1, 1]
    assert price(np.zeros(0), np.zeros(0, np.int64), 2, EVEN, Prices()).tolist() == [10, 10]


def test_refuted_and_confirmed_boxes_count_for_nothing() -> None:
    """Of class 0 all boxes are wrong, whatever their score; a sure box of class 1 is right; c is in doubt."""
    shares, scores = [SHARES[0]] * 3 + [SHARES[1]] * 2, [0.5, 0.5, 0.5, 0.99, 0.5]
    detections = detections_of([0, 3, 4, 5], shares, scores=scores, boxes=apart(5))
    pool = points([0, 0, 0], detections=detections, calibration=Calibration(1.0, (-9.0, 0.0), 0.9, 0, 0))
    assert names(pool, select_calibrated(pool, 2, default_rng(0), cost="images")) == ["c", "b"]


def test_rare_classes_weigh_more_up_to_three_times() -> None:
    detections = detections_of([0, 1, 2], SHARES)
    pool = points([0, 0], detections=detections, labelled_classes=np.array([100.0, 10]), calibration=EVEN)
    assert names(pool, select_calibrated(pool, 1, default_rng(0))) == ["b"]
    other = replace(pool, labelled_classes=np.array([10.0, 100]))
    assert names(other, select_calibrated(other, 1, default_rng(0))) == ["a"]


def test_an_image_that_takes_long_needs_more_to_offer() -> None:
    """Image a has three unsure boxes, b one: a gives less for its time if each box takes long."""
    detections = detections_of([0, 3, 4], [SHARES[0]] * 4, scores=[0.5] * 4, boxes=apart(4))
    pool = points([0, 0], detections=detections, calibration=replace(EVEN, missed_per_object=1.0))
    for seconds, first in ((0.0, "a"), (60.0, "b")):
        prices = Prices(image=10, confirm=0, delete=0, draw=seconds)
        priced = replace(pool, prices=prices)
        assert names(priced, select_calibrated(priced, 1, default_rng(0))) == [first]
    assert names(pool, select_calibrated(pool, 1, default_rng(0), cost="images")) == ["a"]


def test_looks_without_labels_come_first() -> None:
    """Alike in what they show; labels lie where a, b and c do. Without the looks the first name decides."""
    pool = points(
        [0, 0.1, 0.2, 9, 9.1],
        detections=detections_of(range(6), [SHARES[0]] * 5),
        labelled=np.array([[0.05], [0.15]]),
        labelled_classes=np.array([5.0, 5]),
        calibration=EVEN,
    )
    assert names(pool, select_calibrated(pool, 2, default_rng(0)))[0] == "d"
    assert names(pool, select_calibrated(pool, 2, default_rng(0), cluster_weight=0)) == ["a", "b"]
    with pytest.raises(CandidatesError, match="cluster_weight must be >= 0, got -1"):
        select_calibrated(pool, 2, default_rng(0), cluster_weight=-1)


def test_a_weak_or_unknown_model_gets_typical_images() -> None:
    """Two looks with a middle each; between them a single image that has all that is unsure."""
    pool = points(
        np.concatenate([np.linspace(0, 1, 11), [20.0], np.linspace(40, 41, 11)]),
        uncertainty=[0.0] * 11 + [3.0] + [0.0] * 11,
        detections=detections_of([0] * 12 + [3] * 12, [SHARES[0]] * 3, boxes=apart(3)),
    )
    typical = names(pool, select("typiclust", pool, 2, default_rng(0)))
    for calibration in (None, replace(EVEN, auc=0.64)):
        weak = replace(pool, calibration=calibration)
        assert names(weak, select_calibrated(weak, 2, default_rng(0))) == typical
    good = replace(pool, calibration=EVEN)
    assert names(good, select_calibrated(good, 1, default_rng(0))) == ["l"]


def test_a_large_pool_is_cut_to_what_promises_most() -> None:
    """All boxes of the first thousand are sure."""
    n = 3000
    scores = np.where(np.arange(n) < 1000, 0.9999, 0.5)
    pool = Candidates(
        tuple(f"{i:05d}" for i in range(n)),
        np.ones(n),
        default_rng(0).normal(size=(n, 3)),
        detections_of(np.arange(n + 1), np.tile(SHARES[0], (n, 1)), scores=scores),
        calibration=EVEN,
    )
    picked = select_calibrated(pool, 5, default_rng(0))
    assert picked.min() >= 1000
    assert picked.tolist() == select_calibrated(pool, 5, default_rng(0)).tolist()
