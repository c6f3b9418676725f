"""The unlabelled part of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from al_loop.structures.images import ImageFile


@dataclass(frozen=True, eq=False)
class UnlabelledPart:
    """Unlabelled images of a training, and how it learns from them.

    images: without those that a model is evaluated on.
    per_step: number of images of each step, of all processes together.
    thresholds: score of each class above which the teacher's boxes are labels. None: the class has no such
        score.
    soft: learn the class distributions of the teacher, without thresholds.
    weight: of their loss, after the first fifth of the steps.
    """

    images: Sequence[ImageFile]
    per_step: int
    thresholds: tuple[float | None, ...]
    soft: bool = False
    weight: float = 1.0
