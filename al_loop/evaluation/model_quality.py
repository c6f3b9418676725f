"""How good a model's boxes are, as strategies read it: how well it counts, and which boxes are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from al_loop.evaluation.detection_counts import count_r2
from al_loop.evaluation.evaluate import match
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage
from strategies import Calibration, Evidence, Strategy, calibrate


@dataclass(frozen=True)
class ModelQuality:
    """How good a model's boxes are. None if the strategy does not read it, or if it cannot be told.

    count_r2: share of the variance of object counts that it explains (`detection_counts.count_r2`).
    calibration: the chance that a box is right.
    """

    count_r2: float | None = None
    calibration: Calibration | None = None


UNKNOWN = ModelQuality()


def needs_quality(strategy: Strategy) -> bool:
    """Return whether a strategy reads how good the model's boxes are."""
    return strategy.uses_count_r2 or "calibration" in strategy.needs


def quality_for(
    strategy: Strategy,
    truth: Sequence[LabelledImage],
    predicted: Mapping[str, Boxes],
    classes: Sequence[str],
) -> ModelQuality:
    """Return what a strategy reads of the quality of a model.

    truth: images that the model was not trained on.
    predicted: boxes by image id.
    """
    return ModelQuality(
        count_r2(truth, predicted) if strategy.uses_count_r2 else None,
        calibration_of(truth, predicted, classes) if "calibration" in strategy.needs else None,
    )


def calibration_of(
    truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: Sequence[str]
) -> Calibration | None:
    """Return how well the boxes of a model are calibrated. None if that cannot be learnt.

    truth: images that the model was not trained on.
    predicted: boxes by image id.
    """
    return calibrate(evidence(truth, predicted, classes), len(classes)) if truth else None


def evidence(
    truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: Sequence[str]
) -> Evidence:
    """Return which boxes are right. Of boxes that overlap, whatever their classes, the best counts.

    Boxes in ignore regions do not count.
    """
    best = {
        item.image.id: predicted[item.image.id].shown(0.0) for item in truth if item.image.id in predicted
    }
    missed = np.zeros(len(truth))
    images, labels, scores, right = [], [], [], []
    for label, found in enumerate(match(truth, best, classes)):
        image, score, hit = found.at_50()
        images.append(image)
        labels.append(np.full(len(image), label))
        scores.append(score)
        right.append(hit)
        missed += found.truth[0] - np.bincount(image, hit, len(truth))
    return Evidence(
        np.concatenate(images), np.concatenate(labels), np.concatenate(scores), np.concatenate(right), missed
    )
