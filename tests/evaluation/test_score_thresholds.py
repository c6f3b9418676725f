"""Score thresholds of classes, by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.factories import CLASSES

from al_loop.evaluation.bootstrap import AREAS, IOUS, ClassMatches
from al_loop.evaluation.evaluate import match
from al_loop.evaluation.score_thresholds import precision_bound, score_thresholds
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage

Make = Callable[..., Boxes]


def detections(*rows: tuple[float, bool], ignored: tuple[int, ...] = ()) -> ClassMatches:
    """Return the matches of one class: score and whether it hits, by decreasing score."""
    scores, hits = zip(*rows, strict=True) if rows else ((), ())
    shape = (len(AREAS), IOUS, len(rows))
    hit = np.broadcast_to(np.array(hits, dtype=bool), shape)
    left_out = np.zeros(shape, dtype=bool)
    left_out[..., list(ignored)] = True
    return ClassMatches(
        np.zeros(len(rows), np.int64), np.array(scores, float), hit, left_out, np.ones((len(AREAS), 1), int)
    )


def test_bounds_by_hand() -> None:
    """Of n correct ones in n: n / (n + z²), z² = 0.7083. Of 9 in 10: (0.9 + 0.0354 - 0.0873) / 1.0708."""
    bounds = precision_bound(np.array([2.0, 3, 4, 9, 0]), np.array([2.0, 3, 4, 10, 5]))
    assert bounds == pytest.approx([0.7385, 0.8090, 0.8496, 0.7920, 0.0], abs=1e-4)


def test_the_lowest_score_that_is_precise_enough() -> None:
    right = [(0.9 - i / 100, True) for i in range(12)]
    assert score_thresholds([detections(*right)]) == (pytest.approx(0.79),)
    # 12 of 13: bound 0.837. 12 of 14: 0.761. 16 of 18: 0.811.
    wrong = [*right, (0.7, False), (0.6, False)]
    assert score_thresholds([detections(*wrong)]) == (0.7,)
    again = [*wrong, *((0.5 - i / 100, True) for i in range(4))]
    assert score_thresholds([detections(*again)]) == (pytest.approx(0.47),)


def test_classes_without_a_threshold() -> None:
    two = detections((0.9, True), (0.8, True))
    poor = detections(*((0.9 - i / 100, i % 2 == 0) for i in range(20)))
    assert score_thresholds([detections(), two, poor]) == (None, None, None)


def test_equal_scores_have_one_threshold() -> None:
    """Three of the four boxes of score 0.9 are right; without the fourth the bound would be 0.81."""
    equal = detections((0.9, True), (0.9, True), (0.9, True), (0.9, False))
    assert score_thresholds([equal]) == (None,)


def test_boxes_in_ignore_regions_do_not_count() -> None:
    rows = [(0.9, False), (0.8, True), (0.7, True), (0.6, True)]
    assert score_thresholds([detections(*rows)]) == (None,)
    assert score_thresholds([detections(*rows, ignored=(0,))]) == (0.6,)


def test_with_the_matches_of_coco(make_boxes: Make) -> None:
    """Three bolts are found, and one nut is taken for a bolt, with the lowest score."""
    truth, predicted = [], {}
    for number in range(3):
        image = ImageFile(str(number), Path("a.png"), 100, 100)
        truth.append(LabelledImage(image, make_boxes((0, 0, 20, 20, 0), (50, 50, 70, 70, 1))))
        predicted[image.id] = make_boxes((1, 0, 21, 20, 0, 0.6 + number / 10))
    predicted["0"] = make_boxes((1, 0, 21, 20, 0, 0.6), (50, 50, 70, 70, 0, 0.3))
    assert score_thresholds(match(truth, predicted, CLASSES)) == (0.6, None)
