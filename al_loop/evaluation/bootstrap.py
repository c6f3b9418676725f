"""How sure is a difference in AP? Resampling of validation images, from matches that are computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from al_loop.structures.boxes import FloatArray, IntArray

BoolArray = NDArray[np.bool_]

#: COCO's, in its order: areas of boxes in px², IoU, recall.
AREAS = ("all", "small", "medium", "large")
IOUS = 10
_RECALLS = np.linspace(0.0, 1.0, 101)
_ROWS = 250  # resamples at a time: some ten megabytes


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """One class's detections over a whole set, surest first, and what COCO's matching says of them.

    image: (d,) number of the image.  hit, ignored: (areas, IoUs, d).  truth: (areas, images) boxes to be found.
    """

    image: IntArray
    hit: BoolArray
    ignored: BoolArray
    truth: IntArray


@dataclass(frozen=True)
class Difference:
    """Candidate minus current, with a 95 % interval over resampled images; None where no image shows it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """As in "+0.020 (95 % interval -0.010 to +0.050)"."""
        return f"{self.value:+.3f} (95 % interval {self.low:+.3f} to {self.high:+.3f})"


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images. per_class and by_area: AP of what some image shows.

    predictions: how many boxes the candidate has, on all images.
    """

    ap: Difference
    ap50: Difference
    per_class: dict[str, Difference]
    by_area: dict[str, Difference]
    images: int
    resamples: int
    predictions: int


def compare(
    candidate: Sequence[ClassMatches],
    current: Sequence[ClassMatches],
    classes: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Paired bootstrap over images: both models are judged on the same resamples, so what these share cancels.

    candidate, current: a `ClassMatches` for each class. AP is computed anew for every resample, as pycocotools does.
    Cost: O(resamples · detections) time, some ten megabytes.
    Source: Efron & Tibshirani 1993, chapters 8 and 13 (percentile interval).
    """
    images = candidate[0].truth.shape[1]
    drawn = _weights(images, resamples, np.random.default_rng(seed))
    whole = np.ones((1, images))
    value = _scores(candidate, whole) - _scores(current, whole)
    spread = np.concatenate(
        [
            _scores(candidate, part) - _scores(current, part)
            for part in np.split(drawn, range(_ROWS, resamples, _ROWS))
        ]
    )
    found = [_difference(value[0, column], spread[:, column]) for column in range(value.shape[1])]
    ap, ap50, areas, per_class = found[0], found[1], found[2:5], found[5:]
    if ap is None or ap50 is None:
        raise ValueError(f"expected images with boxes, got {images} without any")
    return Comparison(
        ap,
        ap50,
        {name: d for name, d in zip(classes, per_class, strict=True) if d is not None},
        {name: d for name, d in zip(AREAS[1:], areas, strict=True) if d is not None},
        images,
        resamples,
        sum(len(one.image) for one in candidate),
    )


def interval(
    matches: Sequence[ClassMatches], *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of one model's AP over resampled images; None where there is no box to be found."""
    images = matches[0].truth.shape[1]
    drawn = _weights(images, resamples, np.random.default_rng(seed))
    parts = np.split(drawn, range(_ROWS, resamples, _ROWS))
    spread = np.concatenate([_mean(average_precision(matches, part), (1, 2)) for part in parts])
    if not np.isfinite(spread).any():
        return None
    low, high = np.quantile(spread[np.isfinite(spread)], (0.025, 0.975))
    return float(low), float(high)


def average_precision(matches: Sequence[ClassMatches], weights: FloatArray, area: int = 0) -> FloatArray:
    """COCO's AP of every resample, class and IoU, (resamples, classes, IoUs); nan where there is no box to be found.

    weights: (resamples, images) how often each image is in each resample. The same as of so many copies
    of each image, but where an image has two boxes of a class with equal scores, whose order is chance.
    """
    found = np.full((len(weights), len(matches), IOUS), np.nan)
    for number, one in enumerate(matches):
        found[:, number] = _of_class(one, weights, area)
    return found


def _scores(matches: Sequence[ClassMatches], weights: FloatArray) -> FloatArray:
    """(resamples, 5 + classes): AP, AP50, AP of small, medium and large boxes, AP of each class."""
    every = average_precision(matches, weights)
    columns = [_mean(every, (1, 2)), _mean(every[:, :, 0], 1)]
    columns += [_mean(average_precision(matches, weights, area), (1, 2)) for area in range(1, len(AREAS))]
    return np.column_stack([*columns, _mean(every, 2)])


def _of_class(one: ClassMatches, weights: FloatArray, area: int) -> FloatArray:
    """(resamples, IoUs) of one class."""
    wanted = weights @ one.truth[area]
    found = np.zeros((len(weights), IOUS))
    found[wanted == 0] = np.nan
    some = np.flatnonzero(wanted > 0)
    if not len(some) or not len(one.image):
        return found
    drawn = weights[some][:, one.image]
    for level in range(IOUS):
        counted = np.flatnonzero(~one.ignored[area, level])
        hit = one.hit[area, level, counted]
        if not hit.any():
            continue
        # Precision has its peaks at hits, and recall rises there alone: nothing else need be looked at.
        every = np.cumsum(drawn[:, counted], axis=1)[:, hit]
        right = np.cumsum(drawn[:, counted[hit]], axis=1)
        precision = np.divide(right, every, out=np.zeros_like(right), where=every > 0)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = right / wanted[some, None]
        for row, at in enumerate(some):
            place = np.searchsorted(recall[row], _RECALLS)
            reached = place < len(best[row])
            found[at, level] = best[row][place[reached]].sum() / len(_RECALLS)
    return found


def _weights(images: int, resamples: int, rng: np.random.Generator) -> FloatArray:
    """(resamples, images) how often each image is drawn in `images` draws."""
    return rng.multinomial(images, np.full(images, 1 / images), size=resamples).astype(np.float64)


def _mean(values: FloatArray, axis: int | tuple[int, ...]) -> FloatArray:
    """Mean of what is there; nan where nothing is."""
    there = np.isfinite(values)
    count = there.sum(axis=axis)
    total = np.where(there, values, 0.0).sum(axis=axis)
    return np.asarray(np.divide(total, count, out=np.full(np.shape(count), np.nan), where=count > 0))


def _difference(value: float, spread: FloatArray) -> Difference | None:
    """With percentiles over the resamples that show it."""
    if not np.isfinite(value):
        return None
    low, high = np.quantile(spread[np.isfinite(spread)], (0.025, 0.975))
    return Difference(float(value), float(low), float(high))
