"""Labels that a model contradicts, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from al_loop.evaluation.label_doubts import Kind, label_doubts
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage
from strategies import Calibration

SQUARE = [0, 0, 10, 10]


def image(
    boxes: list[list[float]], labels: list[int], ignored: list[list[float]] | None = None
) -> LabelledImage:
    regions = Boxes(np.array(ignored or [], float).reshape(-1, 4), np.zeros(len(ignored or []), np.int64))
    drawn = Boxes(np.array(boxes, float).reshape(-1, 4), np.array(labels, np.int64))
    return LabelledImage(ImageFile("a", Path("a.png"), 100, 100), drawn, regions)


def seen(boxes: list[list[float]], labels: list[int], scores: list[float]) -> dict[str, Boxes]:
    return {"a": Boxes(np.array(boxes, float).reshape(-1, 4), np.array(labels, np.int64), np.array(scores))}


def test_labels_that_the_model_shares_are_not_doubted() -> None:
    assert label_doubts([image([SQUARE], [0])], seen([[0, 0, 10, 9]], [0], [0.9])) == []
    assert label_doubts([image([], [])], seen([], [], [])) == []


def test_a_box_is_missing() -> None:
    (doubt,) = label_doubts([image([SQUARE], [0])], seen([SQUARE, [50, 50, 60, 60]], [0, 1], [0.9, 0.8]))
    assert (doubt.kind, doubt.label, doubt.predicted, doubt.chance) == (Kind.MISSING, None, 1, 0.8)
    assert doubt.loss == pytest.approx(-np.log(0.2))
    assert doubt.box.tolist() == [50, 50, 60, 60]


def test_a_class_differs() -> None:
    (doubt,) = label_doubts([image([SQUARE], [0])], seen([[0, 0, 10, 9], SQUARE], [1, 0], [0.8, 0.3]))
    assert (doubt.kind, doubt.label, doubt.predicted) == (Kind.CLASS, 0, 1)
    assert doubt.loss == pytest.approx(-np.log(0.2))


@pytest.mark.parametrize(("box", "overlap"), [([0, 0, 10, 6], 0.6), ([5, 0, 15, 10], 1 / 3)])
def test_a_box_is_off(box: list[float], overlap: float) -> None:
    (doubt,) = label_doubts([image([SQUARE], [0])], seen([box], [0], [0.8]))
    assert doubt.kind == Kind.OFF
    assert doubt.loss == pytest.approx(-np.log(0.2) * (1 - overlap / 0.8))
    assert doubt.box.tolist() == SQUARE


def test_an_object_that_the_model_does_not_see() -> None:
    (doubt,) = label_doubts([image([SQUARE], [1])], seen([], [], []))
    assert (doubt.kind, doubt.label, doubt.predicted) == (Kind.UNSEEN, 1, None)
    assert doubt.loss == pytest.approx(np.log(2))


def test_calibrated_chances_take_the_place_of_scores() -> None:
    calibration = Calibration(1.0, (0.0, -np.log(4)), 0.9, 0.0, 0.0)
    (doubt,) = label_doubts([image([], [])], seen([SQUARE], [1], [0.8]), calibration)
    assert doubt.chance == pytest.approx(0.5)
    assert doubt.loss == pytest.approx(np.log(2))


def test_ignore_regions_and_images_without_predictions_are_passed_over() -> None:
    hidden = image([], [], ignored=[[0, 0, 10, 6]])
    assert label_doubts([hidden], seen([SQUARE], [0], [0.9])) == []
    assert label_doubts([image([SQUARE], [0])], {}) == []


def test_the_largest_loss_comes_first_and_certainty_is_finite() -> None:
    boxes = [[x, 0.0, x + 10, 10.0] for x in (0.0, 20.0, 40.0)]
    doubts = label_doubts([image([], [])], seen(boxes, [0, 0, 0], [0.6, 1.0, 0.8]))
    assert [doubt.chance for doubt in doubts] == [0.999, 0.8, 0.6]
    assert np.isfinite(doubts[0].loss)
