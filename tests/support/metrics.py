"""Metrics and comparisons of two models, made up."""

from __future__ import annotations

from al_loop.evaluation.bootstrap import Comparison, Difference
from al_loop.structures.metrics import Metrics


def metrics(ap: float, **per_class: float | None) -> Metrics:
    return Metrics(ap, ap, ap, dict(per_class), images=4, boxes=8)


def compared(value: float, low: float, high: float, predictions: int = 9) -> Comparison:
    difference = Difference(value, low, high)
    return Comparison(difference, difference, {}, {}, images=50, resamples=1000, predictions=predictions)
