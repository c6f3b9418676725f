"""Confidence intervals of metrics and of their differences, by a bootstrap over images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from al_loop.structures.boxes import FloatArray, IntArray
from al_loop.structures.metrics import Estimate, MetricName

BoolArray = NDArray[np.bool_]
#: Metrics of resamples, (resamples, metrics), from the number of copies of each image, (resamples, images).
#: nan: undefined.
Statistic = Callable[[FloatArray], FloatArray]

#: COCO's area ranges, number of IoU thresholds and recall levels, in its order.
AREAS = ("all", "small", "medium", "large")
IOUS = 10
_RECALLS = np.linspace(0.0, 1.0, 101)
#: Number of resamples.
RESAMPLES = 1000
_ROWS = 250  # resamples at a time, about ten megabytes


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """Detections of one class on a complete set, by decreasing score, with their COCO matches.

    image: (d,) index of the image.
    score: (d,) score.
    hit, ignored: (areas, IoUs, d) whether a detection matches a true box, and whether COCO ignores it.
    truth: (areas, images) number of true boxes.
    """

    image: IntArray
    score: FloatArray
    hit: BoolArray
    ignored: BoolArray
    truth: IntArray

    def at_50(self) -> tuple[IntArray, FloatArray, BoolArray]:
        """Return image, score and hit of the detections of all sizes at IoU 0.50, without ignored ones."""
        counted = ~self.ignored[0, 0]
        return self.image[counted], self.score[counted], self.hit[0, 0, counted]


@dataclass(frozen=True)
class Difference:
    """Candidate minus current, with a 95 % interval over resampled images."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return the text "+0.020 (95 % interval -0.010 to +0.050)"."""
        return f"{self.value:+.3f} (95 % interval {self.low:+.3f} to {self.high:+.3f})"


@dataclass(frozen=True)
class PixelDifferences:
    """Differences of two models over the pixels of the same images, see `MaskMetrics`."""

    mean_iou: Difference
    mean_dice: Difference
    iou: dict[str, Difference]
    dice: dict[str, Difference]


@dataclass(frozen=True)
class Comparison:
    """Differences of two models on the same images.

    per_class, by_area: differences in AP, for classes and areas with a true box.
    predictions: number of boxes of the candidate on all images.
    masks, pixels: differences of masks in place of boxes. None unless both models predict masks, and the
        images have outlines.
    """

    ap: Difference
    ap50: Difference
    per_class: dict[str, Difference]
    by_area: dict[str, Difference]
    images: int
    resamples: int
    predictions: int
    masks: Comparison | None = None
    pixels: PixelDifferences | None = None

    def of(self, metric: MetricName) -> Comparison | None:
        """Return the differences of boxes or of masks. None without masks."""
        return self.masks if metric == "mask_ap" else self

    @property
    def plain(self) -> dict[str, Any]:
        """Return the differences as plain data for a file, without those of masks that there are not."""
        plain = asdict(self)
        if plain["masks"] is not None:
            plain["masks"] = {name: value for name, value in plain["masks"].items() if value is not None}
        return {name: value for name, value in plain.items() if value is not None}


def compare(
    candidate: Sequence[ClassMatches],
    current: Sequence[ClassMatches],
    classes: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two models by a paired bootstrap over images: both are evaluated on the same resamples.

    candidate, current: matches of each class.
    classes: names of the classes.
    AP is computed for each resample as pycocotools does, in O(resamples · detections) time.
    Raises ValueError if no image has a box.
    Source: Efron & Tibshirani 1993, chapters 8 and 13 (percentile interval).
    """
    images = candidate[0].truth.shape[1]
    parts = _weights(images, resamples, seed)
    whole = np.ones((1, images))
    value = _scores(candidate, whole) - _scores(current, whole)
    spread = np.concatenate([_scores(candidate, part) - _scores(current, part) for part in parts])
    differences = [_difference(value[0, column], spread[:, column]) for column in range(value.shape[1])]
    ap, ap50 = differences[:2]
    if ap is None or ap50 is None:
        raise ValueError(f"expected images with boxes, got {images} without any")
    by_area = {name: d for name, d in zip(AREAS[1:], differences[2:5], strict=True) if d is not None}
    per_class = {name: d for name, d in zip(classes, differences[5:], strict=True) if d is not None}
    predictions = sum(len(matches.image) for matches in candidate)
    return Comparison(ap, ap50, per_class, by_area, images, resamples, predictions)


def interval(matches: Sequence[ClassMatches]) -> tuple[float, float] | None:
    """Return the 95 % interval of one model's AP over resampled images. None if no image has a box."""
    parts = _weights(matches[0].truth.shape[1], RESAMPLES, seed=0)
    spread = np.concatenate([finite_mean(average_precision(matches, part), (1, 2)) for part in parts])
    return _percentiles(spread) if np.isfinite(spread).any() else None


def estimates(statistic: Statistic, images: int) -> list[Estimate | None]:
    """Return metrics of a set of images with 95 % intervals. None for an undefined metric."""
    value, spread = statistic(np.ones((1, images)))[0], _spread(statistic, images)
    return [
        Estimate(float(each), *_percentiles(spread[:, column])) if np.isfinite(each) else None
        for column, each in enumerate(value)
    ]


def differences(candidate: Statistic, current: Statistic, images: int) -> list[Difference | None]:
    """Return the differences of metrics, paired by images, with 95 % intervals. None if undefined."""

    def statistic(weights: FloatArray) -> FloatArray:
        return candidate(weights) - current(weights)

    return [
        each if each is None else Difference(each.value, each.low, each.high)
        for each in estimates(statistic, images)
    ]


def _spread(statistic: Statistic, images: int) -> FloatArray:
    return np.concatenate([statistic(part) for part in _weights(images, RESAMPLES, seed=0)])


def average_precision(matches: Sequence[ClassMatches], weights: FloatArray, area: int = 0) -> FloatArray:
    """Return COCO's AP of each resample, class and IoU, (resamples, classes, IoUs). nan without a true box.

    weights: (resamples, images) number of copies of each image in each resample.
    area: index into `AREAS`.
    The result equals COCO's AP on a set with that many copies of each image. The exception is detections of a
    class with equal scores in one image, whose order is arbitrary.
    """
    return np.stack([_class_ap(each, weights, area) for each in matches], axis=1)


def _scores(matches: Sequence[ClassMatches], weights: FloatArray) -> FloatArray:
    """Return AP, AP50, AP of small, medium and large boxes, AP of each class: (resamples, 5 + classes)."""
    ap = average_precision(matches, weights)
    columns = [finite_mean(ap, (1, 2)), finite_mean(ap[:, :, 0], 1)]
    columns += [
        finite_mean(average_precision(matches, weights, area), (1, 2)) for area in range(1, len(AREAS))
    ]
    return np.column_stack([*columns, finite_mean(ap, 2)])


def _class_ap(matches: ClassMatches, weights: FloatArray, area: int) -> FloatArray:
    """Return the AP of one class, (resamples, IoUs)."""
    truth = weights @ matches.truth[area]
    ap = np.zeros((len(weights), IOUS))
    ap[truth == 0] = np.nan
    rows = np.flatnonzero(truth > 0)
    if not len(rows) or not len(matches.image):
        return ap
    copies = weights[rows][:, matches.image]
    for level in range(IOUS):
        counted = np.flatnonzero(~matches.ignored[area, level])
        hit = matches.hit[area, level, counted]
        if not hit.any():
            continue
        # Precision has its maxima at hits, and recall rises only at hits.
        detections = np.cumsum(copies[:, counted], axis=1)[:, hit]
        hits = np.cumsum(copies[:, counted[hit]], axis=1)
        precision = np.divide(hits, detections, out=np.zeros_like(hits), where=detections > 0)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = hits / truth[rows, None]
        for number, row in enumerate(rows):
            first = np.searchsorted(recall[number], _RECALLS)
            reached = first < len(envelope[number])
            ap[row, level] = envelope[number][first[reached]].sum() / len(_RECALLS)
    return ap


def _weights(images: int, resamples: int, seed: int) -> list[FloatArray]:
    """Return the number of copies of each image in each resample, (resamples, images), in parts of rows."""
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(images, np.full(images, 1 / images), size=resamples).astype(np.float64)
    return np.split(weights, range(_ROWS, resamples, _ROWS))


def finite_mean(values: FloatArray, axis: int | tuple[int, ...]) -> FloatArray:
    """Return the mean of the finite values, or nan without any. `np.nanmean` would warn."""
    finite = np.isfinite(values)
    count = finite.sum(axis=axis)
    total = np.where(finite, values, 0.0).sum(axis=axis)
    return np.asarray(np.divide(total, count, out=np.full(np.shape(count), np.nan), where=count > 0))


def _difference(value: float, spread: FloatArray) -> Difference | None:
    """Return a difference with its percentile interval. None if the difference is undefined."""
    if not np.isfinite(value):
        return None
    return Difference(float(value), *_percentiles(spread))


def _percentiles(spread: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(spread[np.isfinite(spread)], (0.025, 0.975))
    return float(low), float(high)
