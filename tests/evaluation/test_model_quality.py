"""Which boxes of a model are right, from labelled images by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from al_loop.evaluation.model_quality import (
    ModelQuality,
    calibration_of,
    evidence,
    needs_quality,
    quality_for,
)
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage
from strategies import STRATEGIES

CLASSES = ("a", "b")


def boxes(*rows: tuple[float, int], scores: tuple[float, ...] | None = None) -> Boxes:
    """Return boxes of 10 px, given by left side and class."""
    xyxy = np.array([[x, 0, x + 10, 10] for x, _ in rows]).reshape(-1, 4)
    labels = np.array([label for _, label in rows], np.int64)
    return Boxes(xyxy, labels, None if scores is None else np.array(scores))


def image(name: str, truth: Boxes, ignored: Boxes | None = None) -> LabelledImage:
    return LabelledImage(ImageFile(name, Path(name), 100, 20), truth, ignored or Boxes())


def test_right_wrong_and_missed_boxes_by_hand() -> None:
    """Of two classes on one object the higher score counts; the box in an ignore region does not."""
    truth = [
        image("i", boxes((0, 0), (30, 1), (60, 0))),
        image("j", Boxes(), ignored=boxes((0, 1))),
        image("k", boxes((0, 1))),
    ]
    predicted = {
        "i": boxes((0, 0), (1, 1), (30, 0), (32, 1), scores=(0.9, 0.8, 0.3, 0.6)),
        "j": boxes((0, 1), (50, 1), scores=(0.7, 0.2)),
    }
    found = evidence(truth, predicted, CLASSES)
    rows = {
        (int(i), int(label), float(score), bool(right))
        for i, label, score, right in zip(found.image, found.labels, found.scores, found.right, strict=True)
    }
    assert rows == {(0, 0, 0.9, True), (0, 1, 0.6, True), (1, 1, 0.2, False)}
    assert found.missed.tolist() == [1, 0, 1]


def test_what_a_strategy_reads() -> None:
    truth = [image(f"i{n}", boxes((0, 0), (30, 1))) for n in range(20)]
    predicted = {f"i{n}": boxes((0, 0), (60, 1), scores=(0.9, 0.2 + n / 100)) for n in range(20)}
    found = quality_for(STRATEGIES["calibrated"], truth, predicted, CLASSES)
    assert found.count_r2 is None
    assert found.calibration is not None
    assert found.calibration.auc == 1.0
    assert found.calibration.missed(np.ones(1)) == pytest.approx(1, abs=0.1)
    assert quality_for(STRATEGIES["random"], truth, predicted, CLASSES) == ModelQuality()
    assert quality_for(STRATEGIES["dbal"], truth, predicted, CLASSES).calibration is None
    assert needs_quality(STRATEGIES["calibrated"])
    assert needs_quality(STRATEGIES["dbal"])
    assert not needs_quality(STRATEGIES["random"])
    assert calibration_of([], {}, CLASSES) is None
