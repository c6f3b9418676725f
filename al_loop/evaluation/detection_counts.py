"""Counts of correct, misclassified, missed and false boxes, and how well a model counts objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from al_loop.structures.boxes import Boxes, covered, iou
from al_loop.structures.images import LabelledImage

#: Minimum IoU of a match, and minimum score of a prediction that is counted.
IOU, SCORE = 0.5, 0.5
_MIN_IMAGES = 3  # for a correlation


@dataclass(frozen=True)
class Counts:
    """Counts over a labelled set. Each true box and each predicted box is in exactly one count.

    right: matched pairs of the same class.
    misclassified: matched pairs of different classes.
    missed: true boxes without a match.
    false: predictions without a match and outside ignore regions.
    images_right: share of images without misclassified, missed and false boxes.
    """

    right: int
    misclassified: int
    missed: int
    false: int
    images_right: float

    @property
    def precision(self) -> float:
        """Share of correct boxes among the predictions; 0 without predictions."""
        return self.right / max(1, self.right + self.misclassified + self.false)

    @property
    def recall(self) -> float:
        """Share of true boxes that are found with their class; 0 without true boxes."""
        return self.right / max(1, self.right + self.misclassified + self.missed)


def count(truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes]) -> Counts:
    """Match predictions of score >= SCORE with true boxes of IoU >= IOU, regardless of class, and count.

    In order of decreasing score, each prediction takes the unmatched true box with the largest IoU. If IoUs
    are equal, it prefers a box of its own class. An image that is not in `predicted` has no predictions.
    Source: the categories are those of Faltings et al. 2022, tables 1 and 3, and Cordier et al. 2023, table
    1. Both count otherwise: Cordier et al. match boxes at any intersection, and the false negatives of
    Faltings et al. include misclassified boxes.
    """
    right = misclassified = missed = false = images_right = 0
    for item in truth:
        boxes = _outside_regions(item, predicted.get(item.image.id, Boxes()))
        pairs, unmatched = _match(item.boxes, boxes)
        same = sum(int(item.boxes.labels[i] == boxes.labels[j]) for i, j in pairs)
        right += same
        misclassified += len(pairs) - same
        missed += len(item.boxes) - len(pairs)
        false += unmatched
        images_right += same == len(item.boxes) and unmatched == 0
    return Counts(right, misclassified, missed, false, images_right / max(1, len(truth)))


def count_r2(truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes]) -> float | None:
    """Return the squared correlation of true boxes and summed scores per image, in [0, 1]: the count R².

    It is 0 if the correlation is negative. It is None for fewer than three images, or if all images have the
    same number of true boxes. Images that are not in `predicted` are left out.
    """
    items = [item for item in truth if item.image.id in predicted]
    true = np.array([len(item.boxes) for item in items], dtype=np.float64)
    if len(items) < _MIN_IMAGES or np.ptp(true) == 0:
        return None
    scores = [_outside_regions(item, predicted[item.image.id]).scores for item in items]
    sums = np.array([0.0 if each is None else float(each.sum()) for each in scores])
    if np.ptp(sums) == 0:
        return 0.0
    return float(max(0.0, np.corrcoef(true, sums)[0, 1]) ** 2)


def all_right(item: LabelledImage, predicted: Boxes) -> bool:
    """Return whether an image has no misclassified, missed and false boxes."""
    return count([item], {item.image.id: predicted}).images_right == 1


def _outside_regions(item: LabelledImage, predicted: Boxes) -> Boxes:
    """Drop predictions with at least half of their area in an ignore region, unless they match a true box."""
    if not len(item.ignored) or not len(predicted):
        return predicted
    inside = covered(predicted.xyxy, item.ignored.xyxy).max(axis=1) >= IOU
    matching = iou(predicted.xyxy, item.boxes.xyxy).max(axis=1, initial=0.0) >= IOU
    return predicted.take(matching | ~inside)


def _match(truth: Boxes, predicted: Boxes) -> tuple[list[tuple[int, int]], int]:
    """Return pairs of a true box and a prediction, and the number of predictions without a match."""
    scores = predicted.scores if predicted.scores is not None else np.ones(len(predicted))
    counted = [int(j) for j in np.argsort(-scores, kind="stable") if scores[j] >= SCORE]
    overlap = iou(truth.xyxy, predicted.xyxy)
    free, pairs = set(range(len(truth))), []
    for j in counted:
        candidates = [i for i in free if overlap[i, j] >= IOU]
        if candidates:
            best = max(candidates, key=lambda i: (overlap[i, j], truth.labels[i] == predicted.labels[j], -i))
            free.remove(best)
            pairs.append((best, j))
    return pairs, len(counted) - len(pairs)
