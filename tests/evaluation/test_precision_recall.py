"""Curves of precision and recall, by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.factories import CLASSES

from al_loop.evaluation.evaluate import evaluate, match
from al_loop.evaluation.precision_recall import precision_recall
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage


def test_a_curve_by_hand(make_boxes: Callable[..., Boxes]) -> None:
    """Right, wrong, right, in an ignore region, wrong, right, of four true boxes."""
    image = ImageFile("a", Path("a.png"), 200, 100)
    true = make_boxes(*((30.0 * n, 0, 30.0 * n + 20, 20, 0) for n in range(4)))
    truth = [LabelledImage(image, true, make_boxes((150, 50, 200, 100, 0)))]
    predicted = make_boxes(
        (0, 0, 20, 20, 0, 0.9),
        (0, 60, 20, 80, 0, 0.8),
        (30, 0, 50, 20, 0, 0.7),
        (160, 60, 180, 80, 0, 0.65),
        (60, 60, 80, 80, 0, 0.6),
        (60, 0, 80, 20, 0, 0.3),
    )
    bolts, nuts = match(truth, {"a": predicted}, CLASSES)
    curve = precision_recall(bolts)
    assert curve is not None
    assert curve.recall == pytest.approx((1 / 4, 2 / 4, 3 / 4))
    assert curve.precision == pytest.approx((1, 2 / 3, 3 / 5))
    assert (curve.truth, curve.at_score) == (4, (2 / 4, 2 / 4))
    assert precision_recall(nuts) is None
    # AP50: 26 levels up to recall 1/4, 25 up to 2/4, 25 up to 3/4, and 25 that are not reached.
    ap50 = (26 * 1 + 25 * 2 / 3 + 25 * 3 / 5) / 101
    assert evaluate(truth, {"a": predicted}, CLASSES).ap50 == pytest.approx(ap50)


def test_nothing_found(make_boxes: Callable[..., Boxes]) -> None:
    truth = [LabelledImage(ImageFile("a", Path("a.png"), 100, 100), make_boxes((0, 0, 20, 20, 0)))]
    curve = precision_recall(match(truth, {}, CLASSES)[0])
    assert curve is not None
    assert (curve.recall, curve.truth, curve.at_score) == ((), 1, None)
