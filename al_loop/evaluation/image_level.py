"""Precision and recall of whole images: does the image show an object of a class?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from al_loop.evaluation.bootstrap import estimates
from al_loop.evaluation.detection_counts import SCORE
from al_loop.structures.boxes import Boxes, FloatArray
from al_loop.structures.images import LabelledImage
from al_loop.structures.metrics import ImageLevel


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """Which images show a class, and on which the model finds it, (images, classes), each 0 or 1.

    both: images that show the class and on which the model finds it.
    false: images on which the model finds the class although they do not show it.
    missed: images that show the class and on which the model does not find it.
    """

    both: FloatArray
    false: FloatArray
    missed: FloatArray

    def precision(self, weights: FloatArray) -> FloatArray:
        """Return both / (both + false), (resamples, classes). nan if the model finds the class on no image.

        weights: (resamples, images) number of copies of each image.
        """
        return _share(weights @ self.both, weights @ self.false)

    def recall(self, weights: FloatArray) -> FloatArray:
        """Return both / (both + missed), (resamples, classes). nan if no image shows the class."""
        return _share(weights @ self.both, weights @ self.missed)


def count_images(
    truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: int, score: float = SCORE
) -> ImageCounts:
    """Return the counts of images.

    An image shows a class if it has a true box of it. The model finds a class if it predicts a box of it with
    at least this score. An image without a true box of a class, but with an ignore region of it, does not
    count for the class.
    """
    shape = (len(truth), classes)
    shown, found, unknown = (np.zeros(shape, np.bool_) for _ in range(3))
    for number, item in enumerate(truth):
        shown[number, item.boxes.labels] = True
        found[number, predicted.get(item.image.id, Boxes()).above(score).labels] = True
        unknown[number, item.ignored.labels] = True
    parts = found & shown, found & ~shown & ~unknown, shown & ~found
    return ImageCounts(*(part.astype(np.float64) for part in parts))


def evaluate_images(
    truth: Sequence[LabelledImage],
    predicted: Mapping[str, Boxes],
    classes: Sequence[str],
    score: float = SCORE,
) -> ImageLevel:
    """Return precision and recall of each class with intervals. score: see `count_images`."""
    counts, images = count_images(truth, predicted, len(classes), score), len(truth)
    precision, recall = (estimates(each, images) for each in (counts.precision, counts.recall))
    return ImageLevel(dict(zip(classes, precision, strict=True)), dict(zip(classes, recall, strict=True)))


def _share(part: FloatArray, rest: FloatArray) -> FloatArray:
    whole = part + rest
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
