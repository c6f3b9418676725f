"""Boxes of one image. All other formats are converted to and from this format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategies import distinct

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
#: As COCO's `segmentation`, in px: [[x1, y1, x2, y2, ...]] for a polygon, {"size": [h, w], "counts": run
#: lengths} for a mask.
Outline = list[list[float]] | dict[str, Any]


@dataclass(frozen=True, eq=False)
class Boxes:
    """Parallel arrays, one row per box.

    xyxy: (n, 4) float64, absolute pixels, origin top-left, x2 > x1 and y2 > y1.
    labels: (n,) int64, index into the workspace's classes.
    scores: (n,) float64 in [0, 1] for a model's boxes, None for a person's.
    outlines: per box, the outline of the object, drawn or predicted, or None. The box of an outline drawn in
        Label Studio is its hull. None if no label has an outline, or if the model predicts no masks.
    """

    xyxy: FloatArray = field(default_factory=lambda: np.zeros((0, 4)))
    labels: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    scores: FloatArray | None = None
    outlines: tuple[Outline | None, ...] | None = None

    def __post_init__(self) -> None:
        """Check shapes and values."""
        n = len(self.labels)
        if self.xyxy.shape != (n, 4):
            raise ValueError(f"xyxy must have shape ({n}, 4) to match {n} labels, got {self.xyxy.shape}")
        if self.scores is not None and self.scores.shape != (n,):
            raise ValueError(f"scores must have shape ({n},) to match {n} labels, got {self.scores.shape}")
        if self.outlines is not None and len(self.outlines) != n:
            raise ValueError(f"expected {n} outlines to match {n} labels, got {len(self.outlines)}")
        if not np.isfinite(self.xyxy).all():
            raise ValueError("xyxy must be finite")
        if n and ((self.xyxy[:, 2:] <= self.xyxy[:, :2]).any()):
            raise ValueError("every box needs x2 > x1 and y2 > y1")

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.labels)

    def above(self, score: float) -> Boxes:
        """Return the boxes of at least that score. Return all boxes if they have no scores."""
        return self if self.scores is None else self.take(self.scores >= score)

    def take(self, rows: NDArray[np.bool_]) -> Boxes:
        """Return the boxes where `rows`, (n,), is true, with their outlines."""
        scores = None if self.scores is None else self.scores[rows]
        outlines = tuple(compress(self.outlines or (), rows))
        return Boxes(self.xyxy[rows], self.labels[rows], scores, outlines if any(outlines) else None)

    def shown(self, least_scores: float | Sequence[float]) -> Boxes:
        """Return the boxes of a model that people see: one for each object, of a sufficient score.

        least_scores: of all classes, or of each.
        Of boxes that overlap, whatever their classes, the one of highest score is kept: the detector
        suppresses overlapping boxes of one class only.
        """
        if self.scores is None:
            return self
        least = np.asarray(least_scores, np.float64)
        rows = np.flatnonzero(self.scores >= (least[self.labels] if least.ndim else least))
        best = rows[distinct(self.xyxy[rows], self.scores[rows])]
        return self.take(np.isin(np.arange(len(self)), best))

    @property
    def outlined(self) -> NDArray[np.bool_]:
        """Whether each box has an outline, (n,)."""
        if self.outlines is None:
            return np.zeros(len(self), np.bool_)
        return np.array([outline is not None for outline in self.outlines], np.bool_)


def iou(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return intersection over union of xyxy boxes (n, 4) and (m, 4), shape (n, m), in [0, 1]."""
    shared = _shared(first, second)
    return np.asarray(shared / np.maximum(_areas(first)[:, None] + _areas(second)[None] - shared, 1e-12))


def covered(boxes: FloatArray, regions: FloatArray) -> FloatArray:
    """Return the share of each box (n, 4) inside each region (m, 4), shape (n, m), in [0, 1]."""
    return np.asarray(_shared(boxes, regions) / np.maximum(_areas(boxes)[:, None], 1e-12))


def _shared(first: FloatArray, second: FloatArray) -> FloatArray:
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=2))


def _areas(boxes: FloatArray) -> FloatArray:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
