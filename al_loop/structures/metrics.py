"""How good a model is on a labelled set, in numbers; without NumPy, for commands that only show them."""

from __future__ import annotations

from dataclasses import dataclass

#: The set that stops trainings and that a model must not be worse on.
VALIDATION = "validation"


@dataclass(frozen=True)
class Metrics:
    """COCO metrics of a model on a labelled set, each in [0, 1]; a class without truth has no AP.

    low, high: 95 % interval of AP over resampled images; None where nobody asked for it.
    """

    ap: float
    ap50: float
    ap75: float
    per_class: dict[str, float | None]
    images: int
    boxes: int
    low: float | None = None
    high: float | None = None
