"""What a model gets right, in boxes that people can count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from al_loop.structures.boxes import Boxes, covered, iou
from al_loop.structures.images import LabelledImage

#: Overlap that makes a box the same thing, and score from which a box is meant.
IOU, SCORE = 0.5, 0.5


@dataclass(frozen=True)
class Counts:
    """Boxes of a labelled set, each true box and each predicted one in exactly one of these.

    right: found with its class.  misclassified: found, with another class.  missed: not found.  false: a prediction
    where nothing is, and no ignore region.  images_right: share of images without any of the last three.
    """

    right: int
    misclassified: int
    missed: int
    false: int
    images_right: float

    @property
    def precision(self) -> float:
        """Share of the predicted boxes that are right; 0 without any."""
        return self.right / max(1, self.right + self.misclassified + self.false)

    @property
    def recall(self) -> float:
        """Share of the true boxes that are found with their class."""
        return self.right / max(1, self.right + self.misclassified + self.missed)


def count(truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes]) -> Counts:
    """Match boxes of score >= SCORE with true ones by overlap >= IOU, whatever their classes.

    The most likely prediction chooses first, and takes the true box that it overlaps most of those left; of equal
    overlaps one of its own class. An image that `predicted` lacks has no boxes.
    Source: Faltings et al. 2022, tables 1 and 3, and Cordier et al. 2023, table 1, count alike.
    """
    right = misclassified = missed = false = whole = 0
    for item in truth:
        found = _outside(item, predicted.get(item.image.id, Boxes()))
        pairs, spare = _matched(item.boxes, found)
        same = sum(item.boxes.labels[i] == found.labels[j] for i, j in pairs)
        lost = len(item.boxes) - len(pairs)
        right, misclassified = right + int(same), misclassified + len(pairs) - int(same)
        missed, false = missed + lost, false + spare
        whole += same == len(pairs) and lost == spare == 0
    return Counts(right, misclassified, missed, false, whole / max(1, len(truth)))


def count_r2(truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes]) -> float | None:
    """Share of the variance of the number of true boxes per image that the predicted boxes explain, in [0, 1].

    Each box counts its score. It is the squared correlation over the images, 0 where that is negative. None where it
    cannot be known: the images do not differ in their numbers, or are fewer than three. An image that `predicted` lacks
    is left out.
    """
    judged = [item for item in truth if item.image.id in predicted]
    true = np.array([len(item.boxes) for item in judged], dtype=np.float64)
    if len(judged) < 3 or np.ptp(true) == 0:
        return None
    scores = [_outside(item, predicted[item.image.id]).scores for item in judged]
    found = np.array([0.0 if s is None else float(s.sum()) for s in scores])
    if np.ptp(found) == 0:
        return 0.0
    return float(max(0.0, np.corrcoef(true, found)[0, 1]) ** 2)


def all_right(item: LabelledImage, found: Boxes) -> bool:
    """Whether every box of an image is found with its class, and nothing else is."""
    return count([item], {item.image.id: found}).images_right == 1


def _outside(item: LabelledImage, found: Boxes) -> Boxes:
    """Predictions without those that lie in an ignore region, half of each or more, and are no true box's."""
    if not len(item.ignored) or not len(found):
        return found
    inside = covered(found.xyxy, item.ignored.xyxy).max(axis=1) >= IOU
    true = iou(found.xyxy, item.boxes.xyxy).max(axis=1, initial=0.0) >= IOU
    kept = true | ~inside
    return Boxes(found.xyxy[kept], found.labels[kept], None if found.scores is None else found.scores[kept])


def _matched(truth: Boxes, found: Boxes) -> tuple[list[tuple[int, int]], int]:
    """Pairs of a true box and a prediction, and how many predictions are left over."""
    scores = found.scores if found.scores is not None else np.ones(len(found))
    meant = [int(j) for j in np.argsort(-scores, kind="stable") if scores[j] >= SCORE]
    overlap = iou(truth.xyxy, found.xyxy)
    left, pairs = set(range(len(truth))), []
    for j in meant:
        near = [i for i in left if overlap[i, j] >= IOU]
        if near:
            best = max(near, key=lambda i: (overlap[i, j], truth.labels[i] == found.labels[j], -i))
            left.remove(best)
            pairs.append((best, j))
    return pairs, len(meant) - len(pairs)
