"""Counts of correct, misclassified, missed and false boxes, and how well a model counts objects."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from al_loop.structures.boxes import Boxes, covered, iou
from al_loop.structures.images import LabelledImage

#: Minimum IoU of a match, and minimum score of a prediction that is counted.
IOU, SCORE = 0.5, 0.5
#: Names of `COUNT_RULES`.
CountRuleName = Literal["iou", "cordier", "faltings"]
_ANY = sys.float_info.min  # IoU of boxes that intersect by however little
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
    def truth(self) -> int:
        """Number of true boxes."""
        return self.right + self.misclassified + self.missed

    @property
    def precision(self) -> float:
        """Share of correct boxes among the predictions; 0 without predictions."""
        return self.right / max(1, self.right + self.misclassified + self.false)

    @property
    def recall(self) -> float:
        """Share of true boxes that are found with their class; 0 without true boxes."""
        return self.right / max(1, self.truth)


@dataclass(frozen=True)
class FaltingsCounts(Counts):
    """Counts of which `missed` includes the misclassified boxes: all true boxes that are not right."""

    @property
    def truth(self) -> int:
        """Number of true boxes."""
        return self.right + self.missed


@dataclass(frozen=True)
class CountRule:
    """A way to count boxes.

    image: returns right, misclassified, missed and false boxes of an image, from its true boxes and the
        predictions that count.
    counts: the class of the result.
    text: the rule in words, and its source.
    least_iou: minimum IoU of a match.
    """

    image: Callable[[Boxes, Boxes], tuple[int, int, int, int]]
    counts: type[Counts]
    text: str
    least_iou: float = IOU


def count(
    truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], rule: CountRuleName = "iou"
) -> Counts:
    """Count boxes by a rule of `COUNT_RULES`. Only predictions of score >= SCORE count.

    An image that is not in `predicted` has no predictions. An image is right if it has no misclassified,
    missed and false box.
    """
    chosen, sums, images_right = COUNT_RULES[rule], np.zeros(4, np.int64), 0
    for item in truth:
        boxes = predicted.get(item.image.id, Boxes()).above(SCORE)
        found = np.array(chosen.image(item.boxes, _outside_regions(item, boxes, chosen.least_iou)))
        sums += found
        images_right += not found[1:].any()
    right, misclassified, missed, false = sums.tolist()
    return chosen.counts(right, misclassified, missed, false, images_right / max(1, len(truth)))


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


def _outside_regions(item: LabelledImage, predicted: Boxes, least_iou: float = IOU) -> Boxes:
    """Drop predictions with at least half of their area in an ignore region, unless they match a true box."""
    if not len(item.ignored) or not len(predicted):
        return predicted
    inside = covered(predicted.xyxy, item.ignored.xyxy).max(axis=1) >= IOU
    matching = iou(predicted.xyxy, item.boxes.xyxy).max(axis=1, initial=0.0) >= least_iou
    return predicted.take(matching | ~inside)


def _by_iou(truth: Boxes, predicted: Boxes) -> tuple[int, int, int, int]:
    """Match boxes of IoU >= IOU one to one, regardless of class.

    In order of decreasing score, each prediction takes the unmatched true box with the largest IoU. If IoUs
    are equal, it prefers a box of its own class.
    """
    scores = predicted.scores if predicted.scores is not None else np.ones(len(predicted))
    overlap = iou(truth.xyxy, predicted.xyxy)
    free, right, matched = set(range(len(truth))), 0, 0
    for j in np.argsort(-scores, kind="stable").tolist():
        candidates = [i for i in free if overlap[i, j] >= IOU]
        if candidates:
            best = max(candidates, key=lambda i: (overlap[i, j], truth.labels[i] == predicted.labels[j], -i))
            free.remove(best)
            matched += 1
            right += int(truth.labels[best] == predicted.labels[j])
    return right, matched - right, len(truth) - matched, len(predicted) - matched


def _by_intersection(truth: Boxes, predicted: Boxes) -> tuple[int, int, int, int]:
    """Count a true box as right if any prediction of its class intersects it, by however little.

    One prediction may find several true boxes, and several predictions one. A true box that only predictions
    of other classes intersect is misclassified. A prediction is false if it intersects no true box.
    """
    touching = iou(truth.xyxy, predicted.xyxy) >= _ANY
    same = truth.labels[:, None] == predicted.labels[None]
    right, found = (touching & same).any(axis=1), touching.any(axis=1)
    parts = right, found & ~right, ~found, ~touching.any(axis=0)
    counts = [int(part.sum()) for part in parts]
    return counts[0], counts[1], counts[2], counts[3]


def _misclassified_are_missed(truth: Boxes, predicted: Boxes) -> tuple[int, int, int, int]:
    """Match as `_by_iou`, and count the misclassified boxes as missed, too."""
    right, misclassified, missed, false = _by_iou(truth, predicted)
    return right, misclassified, missed + misclassified, false


#: How boxes are counted, by name.
COUNT_RULES: Mapping[CountRuleName, CountRule] = {
    "iou": CountRule(_by_iou, Counts, "matched at an IoU of at least 0.5, each box once"),
    "cordier": CountRule(
        _by_intersection,
        Counts,
        "matched at any intersection, a box any number of times (after Cordier et al. 2023, table 1)",
        least_iou=_ANY,
    ),
    "faltings": CountRule(
        _misclassified_are_missed,
        FaltingsCounts,
        "matched at an IoU of at least 0.5, each box once; the missed ones include the misclassified "
        "(after Faltings et al. 2022, tables 1 and 3)",
    ),
}
