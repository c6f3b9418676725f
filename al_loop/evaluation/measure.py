"""All metrics of a model on a labelled set, and the differences of two models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from al_loop.evaluation.bootstrap import (
    RESAMPLES,
    Comparison,
    Difference,
    PixelDifferences,
    compare,
    differences,
    estimates,
    interval,
)
from al_loop.evaluation.detection_counts import SCORE
from al_loop.evaluation.evaluate import Shape, average_precision, evaluate, match
from al_loop.evaluation.image_level import evaluate_images
from al_loop.evaluation.pixel_overlap import count_pixels
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage, total_outlines
from al_loop.structures.metrics import MaskMetrics, MetricName, Metrics

Predicted = Mapping[str, Boxes]


def measure(
    truth: Sequence[LabelledImage],
    predicted: Predicted,
    classes: Sequence[str],
    *,
    outlined: bool,
    intervals: bool = True,
) -> Metrics:
    """Return the metrics of predictions.

    outlined: also those of masks and of whole images.
    intervals: also the intervals of AP, which take longer than AP itself.
    """
    metrics = evaluate(truth, predicted, classes)
    if intervals:
        low, high = interval(match(truth, predicted, classes)) or (None, None)
        metrics = replace(metrics, low=low, high=high)
    if not outlined:
        return metrics
    masks = _masks(truth, predicted, classes, intervals=intervals)
    return replace(metrics, masks=masks, image_level=evaluate_images(truth, predicted, classes))


def key_value(
    truth: Sequence[LabelledImage], predicted: Predicted, classes: Sequence[str], metric: MetricName
) -> float:
    """Return the AP on which early stopping decides: that of masks or of boxes, as for a promotion.

    Without masks on both sides, it is that of boxes. It equals `measure(...).of(metric).ap`.
    """
    masks = metric == "mask_ap" and compares_masks(truth, predicted)
    return average_precision(truth, predicted, classes, "segm" if masks else "bbox").ap


def compares_masks(truth: Sequence[LabelledImage], predicted: Predicted) -> bool:
    """Whether masks can be evaluated: the set has an outline, and so have predictions, if there are any."""
    found = [boxes for item in truth if len(boxes := predicted.get(item.image.id, Boxes()))]
    return total_outlines(truth) > 0 and (not found or any(boxes.outlines for boxes in found))


def differ(
    truth: Sequence[LabelledImage],
    candidate: Predicted,
    current: Predicted,
    classes: Sequence[str],
    *,
    outlined: bool,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Return the differences of two models on the same images: candidate minus current.

    outlined: also those of masks, if both predict masks.
    resamples: number of resamples of the images for the intervals.
    """

    def compared(shape: Shape) -> Comparison:
        after, before = (match(truth, each, classes, shape) for each in (candidate, current))
        return compare(after, before, classes, resamples=resamples)

    found = compared("bbox")
    if not outlined or not all(compares_masks(truth, each) for each in (candidate, current)):
        return found
    pixels = _pixel_differences(truth, candidate, current, classes)
    return replace(found, masks=compared("segm"), pixels=pixels)


def _masks(
    truth: Sequence[LabelledImage], predicted: Predicted, classes: Sequence[str], *, intervals: bool
) -> MaskMetrics | None:
    if not compares_masks(truth, predicted):
        return None
    precision = average_precision(truth, predicted, classes, "segm")
    pixels = count_pixels(truth, predicted, len(classes), SCORE)
    mean_iou, mean_dice = estimates(pixels.means, len(truth))
    if mean_iou is None or mean_dice is None:
        return None  # all outlines of the set are empty
    whole = np.ones((1, len(truth)))
    iou, dice = (
        {name: float(value) if np.isfinite(value) else None for name, value in zip(classes, row, strict=True)}
        for row in (pixels.iou(whole)[0], pixels.dice(whole)[0])
    )
    low, high = (interval(match(truth, predicted, classes, "segm")) if intervals else None) or (None, None)
    return MaskMetrics(
        precision.ap,
        precision.ap50,
        precision.ap75,
        precision.per_class,
        total_outlines(truth),
        iou,
        dice,
        mean_iou,
        mean_dice,
        low,
        high,
    )


def _pixel_differences(
    truth: Sequence[LabelledImage], candidate: Predicted, current: Predicted, classes: Sequence[str]
) -> PixelDifferences | None:
    first, second = (count_pixels(truth, each, len(classes), SCORE) for each in (candidate, current))
    images = len(truth)
    mean_iou, mean_dice = differences(first.means, second.means, images)
    if mean_iou is None or mean_dice is None:
        return None

    def of_classes(found: list[Difference | None]) -> dict[str, Difference]:
        return {name: each for name, each in zip(classes, found, strict=True) if each is not None}

    return PixelDifferences(
        mean_iou,
        mean_dice,
        iou=of_classes(differences(first.iou, second.iou, images)),
        dice=of_classes(differences(first.dice, second.dice, images)),
    )
