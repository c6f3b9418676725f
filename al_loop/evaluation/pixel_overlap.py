"""IoU and Dice of classes over the pixels of all images, as papers on semantic segmentation report them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from al_loop.evaluation.bootstrap import finite_mean
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes, FloatArray, Outline
from al_loop.structures.images import LabelledImage


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """Numbers of pixels by image and class, (images, classes).

    both: true pixels of the class that the model gives this class.
    false: pixels that the model gives the class and that are not of it.
    missed: true pixels of the class that the model does not give this class.
    """

    both: FloatArray
    false: FloatArray
    missed: FloatArray

    def iou(self, weights: FloatArray) -> FloatArray:
        """Return both / (both + false + missed), (resamples, classes). nan without a true pixel.

        weights: (resamples, images) number of copies of each image. Pixels are summed over all images first.
        """
        both, false, missed = (weights @ part for part in (self.both, self.false, self.missed))
        return _ratio(both, both + false + missed, both + missed)

    def dice(self, weights: FloatArray) -> FloatArray:
        """Return 2 both / (2 both + false + missed), as in `iou`. Source: Dice 1945; it is F1 of pixels."""
        both, false, missed = (weights @ part for part in (self.both, self.false, self.missed))
        return _ratio(2 * both, 2 * both + false + missed, both + missed)

    def means(self, weights: FloatArray) -> FloatArray:
        """Return mean IoU and mean Dice over the classes with true pixels, (resamples, 2)."""
        return np.column_stack([finite_mean(part(weights), 1) for part in (self.iou, self.dice)])


def count_pixels(
    truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: int, score: float
) -> PixelCounts:
    """Count the pixels of each class in each image.

    The model's class of a pixel is that of the mask with the highest score there; masks below `score` are
    left out. A pixel that belongs to outlines of two classes is a true pixel of both. In ignore regions of a
    class, and in true boxes of it without an outline, pixels that belong to no outline of the class do not
    count for it.
    """
    counts = np.zeros((3, len(truth), classes))
    for number, item in enumerate(truth):
        boxes = predicted.get(item.image.id, Boxes()).above(score)
        counts[:, number] = _count(item, boxes, classes)
    return PixelCounts(*counts)


def _count(item: LabelledImage, boxes: Boxes, classes: int) -> FloatArray:
    """Return both, false and missed pixels of each class in an image, (3, classes)."""
    counts = np.zeros((3, classes))
    width, height = item.image.width, item.image.height
    shown = {*item.boxes.labels[item.boxes.outlined].tolist(), *boxes.labels[boxes.outlined].tolist()}
    if not shown:
        return counts
    predicted = segmentation.class_map(boxes, width, height)
    for label in shown:
        found = predicted == label
        true = segmentation.union(_outlines(item.boxes, label), width, height)
        unknown = segmentation.union(_regions(item, label), width, height) & ~true
        counts[:, label] = (
            np.count_nonzero(found & true),
            np.count_nonzero(found & ~true & ~unknown),
            np.count_nonzero(true & ~found),
        )
    return counts


def _outlines(boxes: Boxes, label: int) -> list[Outline]:
    rows = zip(boxes.labels.tolist(), boxes.outlines or (None,) * len(boxes), strict=True)
    return [outline for other, outline in rows if other == label and outline is not None]


def _regions(item: LabelledImage, label: int) -> list[Outline]:
    """Return the rectangles in which it is unknown whether a pixel is of a class."""
    plain = item.boxes.xyxy[(item.boxes.labels == label) & ~item.boxes.outlined]
    ignored = item.ignored.xyxy[item.ignored.labels == label]
    return [
        segmentation.rectangle(box, item.image.width, item.image.height)
        for box in np.concatenate([plain, ignored])
    ]


def _ratio(part: FloatArray, whole: FloatArray, true: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=true > 0)
