"""Predictions of many images as parallel arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from al_loop.structures.boxes import Boxes, FloatArray, IntArray
from al_loop.structures.masks import with_masks
from strategies import Ids, Rows, Stacked, Table

#: The columns with one row per box. Models without masks lack the last two.
BOX_COLUMNS = ("xyxy", "labels", "scores", "distributions", "features", "masks", "mask_margins")


@dataclass(frozen=True, eq=False)
class ScoredImages:
    """All predictions of one model as parallel arrays, which may be mapped from a disk.

    image_ids: n names.
    embeddings: (n, d).
    uncertainty: (n,) `strategies.margin_sum` of each image.
    offsets: (n + 1,) the boxes of image i are the rows offsets[i] to offsets[i + 1] of the next arrays.
    xyxy: (m, 4) px.
    labels, scores: (m,).
    distributions: (m, C + 1), background last.
    features: (m, r). r is 0 for strategies that do not read features.
    maxima: (n, d) global maximum of the FPN's P2 map. None if an older al-loop began the scores.
    masks: (m, SIDE²), see `Prediction`. None for models without masks.
    mask_margins: (m,) `strategies.mask_margins` of each box. None for models without masks.
    """

    image_ids: Ids
    embeddings: Table
    offsets: IntArray
    xyxy: Table
    labels: NDArray[Any] | Rows
    scores: Table
    distributions: Table
    features: Table
    uncertainty: FloatArray
    maxima: Table | None = None
    masks: Table | None = None
    mask_margins: Table | None = None

    def boxes(self, index: int) -> Boxes:
        """Return the boxes of the image at `index`, best first."""
        rows = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return Boxes(
            np.asarray(self.xyxy[rows], np.float64),
            np.asarray(self.labels[rows], np.int64),
            np.asarray(self.scores[rows], np.float64),
        )

    def outlined_boxes(self, index: int, width: int, height: int) -> Boxes:
        """Return the boxes of the image at `index`, best first, with their masks as outlines.

        width, height: of the image, px.
        The outline of a box whose mask covers no pixel is None. `outlines` is None for a model without masks.
        """
        boxes, rows = self.boxes(index), slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        if self.masks is None:
            return boxes
        return with_masks(boxes, self.masks[rows], width, height)

    def boxes_by_image(self) -> dict[str, Boxes]:
        """Return the boxes of every image by its id."""
        return {name: self.boxes(index) for index, name in enumerate(self.image_ids)}

    def subset(self, image_ids: Sequence[str]) -> ScoredImages:
        """Return the named images, in that order, without a copy. Raises KeyError for a missing image."""
        subset = self.intersection(image_ids)
        if len(subset.image_ids) < len(image_ids):
            wanted = Ids.of(image_ids)
            raise KeyError(wanted[int((subset.image_ids.places(wanted) < 0).argmax())])
        return subset

    def intersection(self, image_ids: Iterable[str]) -> ScoredImages:
        """Return those of the named images that have predictions, in the order of the names."""
        wanted = Ids.of(image_ids)
        if wanted == self.image_ids:
            return self
        chosen = self.image_ids.places(wanted)
        present = chosen >= 0
        chosen = chosen[present]
        offsets, rows = _gather(self.offsets[chosen], np.diff(self.offsets)[chosen])
        return ScoredImages(
            image_ids=wanted if present.all() else wanted[present],
            embeddings=Rows.of(self.embeddings, chosen),
            offsets=offsets,
            uncertainty=self.uncertainty[chosen],
            maxima=None if self.maxima is None else Rows.of(self.maxima, chosen),
            **{name: Rows.later(getattr(self, name), rows, int(offsets[-1])) for name in self._columns},
        )

    def updated_with(self, better: ScoredImages) -> ScoredImages:
        """Return these images with their predictions in `better` if it has any, without a copy."""
        if not better.image_ids:
            return self
        replacement = better.image_ids.places(self.image_ids)
        new, n, m = replacement >= 0, len(self.image_ids), int(self.offsets[-1])
        chosen = np.where(new, n + replacement, np.arange(n))
        starts = np.where(new, m + better.offsets[replacement], self.offsets[:-1])
        counts = np.where(new, np.diff(better.offsets)[replacement], np.diff(self.offsets))
        offsets, rows = _gather(starts, counts)

        has_maxima = self.maxima is not None and better.maxima is not None

        def both(name: str) -> Stacked:
            return Stacked(getattr(self, name), getattr(better, name))

        return ScoredImages(
            image_ids=self.image_ids,
            embeddings=Rows(both("embeddings"), chosen),
            offsets=offsets,
            uncertainty=np.where(new, better.uncertainty[replacement], self.uncertainty),
            maxima=Rows(both("maxima"), chosen) if has_maxima else None,
            **{
                name: Rows.later(both(name), rows, int(offsets[-1]))
                for name in self._columns
                if name in better._columns
            },
        )

    @property
    def _columns(self) -> tuple[str, ...]:
        """The columns with one row per box that these images have."""
        return tuple(name for name in BOX_COLUMNS if getattr(self, name) is not None)


def _gather(starts: IntArray, counts: IntArray) -> tuple[IntArray, Callable[[], IntArray]]:
    """Return the offsets of images whose boxes start at `starts`, and a function that returns the rows."""
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @cache
    def rows() -> IntArray:
        return np.asarray(np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts))

    return offsets, rows
