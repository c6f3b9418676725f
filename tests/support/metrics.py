"""Metrics and comparisons of two models, made up."""

from __future__ import annotations

from dataclasses import replace

from al_loop.evaluation.bootstrap import Comparison, Difference
from al_loop.structures.metrics import Estimate, MaskMetrics, Metrics


def metrics(ap: float, **per_class: float | None) -> Metrics:
    return Metrics(ap, ap, ap, dict(per_class), images=4, boxes=8)


def with_masks(box_ap: float, mask_ap: float, **per_class: float | None) -> Metrics:
    """Metrics of a segmentation workspace. per_class: of masks."""
    some = Estimate(mask_ap, mask_ap, mask_ap)
    masks = MaskMetrics(
        mask_ap, mask_ap, mask_ap, dict(per_class), outlines=6, iou=dict(per_class), dice=dict(per_class),
        mean_iou=some, mean_dice=some,
    )  # fmt: skip
    return replace(metrics(box_ap), masks=masks)


def compared(value: float, low: float, high: float, predictions: int = 9) -> Comparison:
    difference = Difference(value, low, high)
    return Comparison(difference, difference, {}, {}, images=50, resamples=1000, predictions=predictions)
