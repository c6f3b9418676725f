"""The unlabelled part of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from al_loop.core.training_config import PretrainAugmentConfig
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
    strong: its changes of appearance are those of what the model sees. The teacher sees the image as it is.
    """

    images: Sequence[ImageFile]
    per_step: int
    thresholds: tuple[float | None, ...]
    soft: bool = False
    weight: float = 1.0
    strong: PretrainAugmentConfig = field(default_factory=PretrainAugmentConfig)
