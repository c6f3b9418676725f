"""Metrics of a model on a labelled set. This module does not import NumPy, so that commands start fast."""

from __future__ import annotations

from dataclasses import dataclass

#: The set for early stopping and promotion.
VALIDATION = "validation"


@dataclass(frozen=True)
class Metrics:
    """COCO metrics of a model on a labelled set, each in [0, 1]. A class without labelled boxes has no AP.

    low, high: 95 % interval of AP over resampled images. None if it was not computed.
    """

    ap: float
    ap50: float
    ap75: float
    per_class: dict[str, float | None]
    images: int
    boxes: int
    low: float | None = None
    high: float | None = None
