"""Identify the scores of a model: model, threshold, precision, with or without features and masks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from al_loop.core.config import Config


@dataclass(frozen=True)
class ScoreKey:
    """The parameters that scores of images depend on, besides the images.

    score_thr: lowest score of a box that is kept.
    precision: "fp32", "bf16" or "auto", as requested.
    features: whether a feature vector is kept for each box.
    masks: whether the mask of each box is kept, if the model predicts masks.
    """

    model_id: str
    score_thr: float
    precision: str = "fp32"
    features: bool = False
    masks: bool = False

    @classmethod
    def of(cls, settings: Config, model_id: str) -> ScoreKey:
        """Return the key of a model's scores of the pool with these settings."""
        precision, score_thr = settings.pool_precision, settings.score.score_thr
        return cls(model_id, score_thr, precision, settings.keeps_features, settings.outlined)

    @property
    def exact(self) -> ScoreKey:
        """The key of the same scores in float32."""
        return replace(self, precision="fp32")

    def folder(self, augmentation: str = "") -> Path:
        """Return the folder of the scores below `scores/`; augmentation: "" for none."""
        parts = [f"thr-{self.score_thr:g}", self.precision if self.precision != "fp32" else ""]
        parts += ["features" if self.features else "", "masks" if self.masks else "", augmentation]
        return Path(self.model_id, "-".join(part for part in parts if part))
