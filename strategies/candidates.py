"""Images that a strategy may pick from, with what the detector predicted on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from strategies.calibration import Calibration
from strategies.ids import Ids
from strategies.prices import Prices
from strategies.rows import AnyFloats, FloatArray, IntArray, Rows, Table, blocks


class CandidatesError(ValueError):
    """The arrays of candidates are inconsistent or not finite."""


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections in n images, image after image: rows of image i are offsets[i] to offsets[i + 1].

    offsets: (n + 1,).
    distributions: (m, C + 1) softmax, background last.
    labels, scores: (m,) class and score of each box.
    boxes: (m, 4) xyxy px.
    features: (m, r) pooled RoI features; (m, 0) where a strategy needs none.
    mask_margins: (m,) how unsure the mask of each box is, see `strategies.mask_margins`. None for a detector
        without masks.
    """

    offsets: IntArray
    distributions: Table
    labels: IntArray | Rows
    scores: Table
    boxes: Table
    features: Table
    mask_margins: Table | None = None

    def __post_init__(self) -> None:
        """Check the shapes of the arrays."""
        m = len(self.distributions)
        if self.offsets[0] != 0 or self.offsets[-1] != m or (np.diff(self.offsets) < 0).any():
            raise CandidatesError(
                f"offsets must rise from 0 to {m} detections, got {self.offsets.tolist()[:9]}"
            )
        for name, shape in {"labels": (m,), "scores": (m,), "boxes": (m, 4)}.items():
            if getattr(self, name).shape != shape:
                raise CandidatesError(f"{name} must have shape {shape}, got {getattr(self, name).shape}")
        if self.distributions.ndim != 2 or self.distributions.shape[1] < 2:
            raise CandidatesError(
                f"distributions must have shape ({m}, classes + background), got {self.distributions.shape}"
            )
        if self.features.ndim != 2 or len(self.features) != m:
            raise CandidatesError(f"features must have shape ({m}, r), got {self.features.shape}")
        if self.mask_margins is not None and self.mask_margins.shape != (m,):
            raise CandidatesError(f"mask_margins must have shape ({m},), got {self.mask_margins.shape}")

    def check_finite(self) -> None:
        """Raise CandidatesError for a value that is not finite; reads every array."""
        for name in ("distributions", "scores", "boxes", "features", "mask_margins"):
            values = getattr(self, name)
            row = None if values is None else first_not_finite(values)
            if row is not None:
                raise CandidatesError(f"{name} must be finite; row {row} is not")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> IntArray:
        """Number of detections of each image, (n,)."""
        return np.diff(self.offsets)

    @property
    def classes(self) -> int:
        """Number of classes, background not counted."""
        return int(self.distributions.shape[1] - 1)

    @cached_property
    def image(self) -> IntArray:
        """Index of the image of each detection, (m,)."""
        return np.repeat(np.arange(len(self)), self.counts)

    def of(self, index: int) -> slice:
        """Rows of one image."""
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))

    def subset(self, indices: IntArray) -> Detections:
        """Return the detections of some images, in that order, read lazily."""
        counts = self.counts[indices]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[indices] - offsets[:-1], counts)
        columns = (self.distributions, self.labels, self.scores, self.boxes, self.features)
        margins = () if self.mask_margins is None else (self.mask_margins,)
        return Detections(offsets, *(Rows.of(column, rows) for column in (*columns, *margins)))


@dataclass(frozen=True, eq=False)
class Candidates:
    """Images a strategy may pick from. None stands for unknown, or not needed by the strategy.

    ids: n distinct names; ties are broken by them.
    uncertainty: (n,) sum of margins, finite and >= 0, no unit. Higher is picked sooner.
    embeddings: (n, d) pooled features, finite, any float type; d may be 0 for strategies that use none.
    detections: of the n images.
    labelled: (l, d) embeddings of the labelled images.
    labelled_classes: (C,) number of labelled boxes of each class.
    augmented: detections in augmented copies of the same images, boxes in pixels of the original.
    class_quality: (C,) how well each class is learnt, in [0, 1].
    count_r2: share of the variance of object counts that the detector's boxes explain, in [0, 1].
    calibration: the chance that a box of the detector is right.
    prices: seconds that people need for an image and for a box. None: the usual ones.
    """

    ids: Sequence[str]
    uncertainty: FloatArray
    embeddings: Table
    detections: Detections | None = None
    labelled: AnyFloats | None = None
    labelled_classes: AnyFloats | None = None
    augmented: tuple[Detections, ...] = ()
    class_quality: AnyFloats | None = None
    count_r2: float | None = None
    calibration: Calibration | None = None
    prices: Prices | None = None
    rank: IntArray = field(init=False)

    def __post_init__(self) -> None:
        """Check the shapes of the arrays, that ids are distinct, and that uncertainties are >= 0."""
        n = len(self.ids)
        if self.uncertainty.shape != (n,):
            raise CandidatesError(
                f"uncertainty must have shape ({n},) to match {n} ids, got {self.uncertainty.shape}"
            )
        if self.embeddings.ndim != 2 or len(self.embeddings) != n:
            raise CandidatesError(
                f"embeddings must have shape ({n}, d) to match {n} ids, got {self.embeddings.shape}"
            )
        try:
            object.__setattr__(self, "rank", self.names.ranks())
        except ValueError as error:
            raise CandidatesError(str(error)) from None
        if n and self.uncertainty.min() < 0:
            bad = int(self.uncertainty.argmin())
            raise CandidatesError(
                f"uncertainty must be >= 0; candidate {self.ids[bad]!r} has {self.uncertainty[bad]:g}"
            )
        for name, detections in self._all_detections():
            if len(detections) != n:
                raise CandidatesError(f"{name} must be of {n} images to match {n} ids, got {len(detections)}")
        if self.count_r2 is not None and not 0 <= self.count_r2 <= 1:
            raise CandidatesError(f"count_r2 must be in [0, 1], got {self.count_r2:g}")
        if self.labelled is not None and self.labelled.shape[1:] != self.embeddings.shape[1:]:
            raise CandidatesError(
                f"labelled must have shape (l, {self.embeddings.shape[1]}), got {self.labelled.shape}"
            )

    def check_finite(self) -> None:
        """Raise CandidatesError for a value that is not finite; reads every array."""
        for name, values in (("uncertainty", self.uncertainty), ("embeddings", self.embeddings)):
            bad = first_not_finite(values)
            if bad is not None:
                raise CandidatesError(f"{name} must be finite; candidate {self.ids[bad]!r} is not")
        for _, detections in self._all_detections():
            detections.check_finite()

    def _all_detections(self) -> Iterator[tuple[str, Detections]]:
        if self.detections is not None:
            yield "detections", self.detections
        yield from (("augmented", detections) for detections in self.augmented)

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self.ids)

    @property
    def class_boxes(self) -> FloatArray:
        """Number of labelled boxes of each class, (C,); 0 where it is unknown. Needs detections."""
        if self.labelled_classes is None:
            return np.zeros(needed(self).classes)
        return np.asarray(self.labelled_classes, np.float64)

    @cached_property
    def names(self) -> Ids:
        """The ids as bytes."""
        return Ids.of(self.ids)

    @cached_property
    def order(self) -> IntArray:
        """Indices in the order of the ids, whatever the order of the pool."""
        return np.argsort(self.rank)

    @cached_property
    def in_order(self) -> bool:
        """Whether the candidates are in the order of their ids."""
        return bool((self.rank == np.arange(len(self))).all())

    def subset(self, indices: IntArray) -> Candidates:
        """Return some of the candidates, in that order, read lazily, with the same labelled images."""
        return replace(
            self,
            ids=self.names[indices],
            uncertainty=self.uncertainty[indices],
            embeddings=Rows.of(self.embeddings, indices),
            detections=None if self.detections is None else self.detections.subset(indices),
            augmented=tuple(a.subset(indices) for a in self.augmented),
        )


def first_not_finite(values: Table) -> int | None:
    """Return the index of the first row with a nan or an infinity, or None; in blocks, without a copy."""
    for start, block in blocks(values):
        # A finite sum proves a block finite; only huge values overflow.
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(block.sum(dtype=np.float32 if block.dtype != np.float64 else np.float64)):
                continue
        finite = np.isfinite(block).reshape(len(block), -1).all(axis=1)
        if not finite.all():
            return start + int(np.argmin(finite))
    return None


def largest(values: AnyFloats, rank: IntArray, count: int) -> IntArray:
    """Return indices of the `count` largest values, largest first, ties by rank. O(n + count log count)."""
    chosen = np.arange(len(values))
    if count < len(values):
        least = np.partition(values, len(values) - count)[len(values) - count]
        above, equal = np.flatnonzero(values > least), np.flatnonzero(values == least)
        equal = equal[np.argsort(rank[equal])][: count - len(above)]
        chosen = np.concatenate([above, equal])
    return np.asarray(chosen[np.lexsort((rank[chosen], -values[chosen]))], dtype=np.int64)


def most_uncertain(candidates: Candidates, count: int) -> IntArray:
    """Return the indices of the `count` largest uncertainties, largest first, ties by id."""
    return largest(candidates.uncertainty, candidates.rank, count)


def without_detections(candidates: Candidates) -> IntArray:
    """Return indices of images without detections: their uncertainty is 0, so ranking never picks them."""
    return np.flatnonzero(candidates.uncertainty == 0).astype(np.int64)


def needed(candidates: Candidates) -> Detections:
    """Return the candidates' detections; CandidatesError where they are missing."""
    if candidates.detections is None:
        raise CandidatesError("this strategy needs the detections of every candidate, got none")
    return candidates.detections
