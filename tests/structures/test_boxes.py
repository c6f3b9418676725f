"""Boxes that people see."""

from __future__ import annotations

import numpy as np
import pytest

from al_loop.structures.boxes import Boxes


def predicted(scores: list[float] | None) -> Boxes:
    """Return three classes stacked on one place, the second a little to the side, and one box elsewhere."""
    xyxy = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 9], [40, 0, 50, 10]], dtype=float)
    outlines = ([[0.0, 0, 10, 0, 10, 10]], None, None, None)
    return Boxes(xyxy, np.array([0, 1, 2, 0]), None if scores is None else np.array(scores), outlines)


@pytest.mark.parametrize(
    ("scores", "min_score", "labels"),
    [
        ([0.5, 0.6, 0.4, 0.3], 0.3, [1, 0]),
        ([0.6, 0.5, 0.4, 0.2], 0.3, [0]),
        ([0.5, 0.5, 0.5, 0.5], 0.0, [0, 0]),
        ([0.1, 0.1, 0.2, 0.2], 0.3, []),
    ],
)
def test_of_stacked_boxes_people_see_the_best(
    scores: list[float], min_score: float, labels: list[int]
) -> None:
    shown = predicted(scores).shown(min_score)
    assert shown.labels.tolist() == labels
    assert bool(shown.outlined.any()) == (0 in labels and scores[0] >= scores[1])


def test_each_class_has_a_score_of_its_own() -> None:
    shown = predicted([0.5, 0.6, 0.4, 0.3]).shown([0.3, 0.7, 0.1])
    assert shown.labels.tolist() == [0, 0]
    assert predicted([0.5, 0.6, 0.4, 0.3]).shown([0.9, 0.9, 0.1]).labels.tolist() == [2]


def test_boxes_of_people_are_all_shown() -> None:
    assert len(predicted(None).shown(0.9)) == 4
