"""Precision over recall of a class, from the matches of its detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from al_loop.evaluation.bootstrap import ClassMatches
from al_loop.evaluation.detection_counts import SCORE
from al_loop.evaluation.evaluate import match
from al_loop.evaluation.measure import compares_masks
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage
from al_loop.structures.metrics import MetricName

# Indices into `ClassMatches`: objects of all sizes, IoU 0.50.
_ALL_SIZES, _IOU_50 = 0, 0


@dataclass(frozen=True)
class PrecisionRecall:
    """The curve of a class at IoU 0.50, by decreasing score.

    recall, precision: of the detections of at least the score of each right one.
    truth: number of true objects.
    at_score: recall and precision of the detections with a score of at least 0.5. None if there are none.
    """

    recall: tuple[float, ...]
    precision: tuple[float, ...]
    truth: int
    at_score: tuple[float, float] | None


@dataclass(frozen=True)
class ClassCurves:
    """The curves of the classes with a true object. masks: whether masks were matched, not boxes."""

    masks: bool
    curves: dict[str, PrecisionRecall]


def class_curves(
    truth: Sequence[LabelledImage],
    predicted: Mapping[str, Boxes],
    classes: Sequence[str],
    metric: MetricName,
) -> ClassCurves:
    """Return the curves of a model on a set, of the shape that decides on a promotion by `metric`."""
    masks = metric == "mask_ap" and compares_masks(truth, predicted)
    matches = match(truth, predicted, classes, "segm" if masks else "bbox")
    curves = {name: precision_recall(each) for name, each in zip(classes, matches, strict=True)}
    return ClassCurves(masks, {name: curve for name, curve in curves.items() if curve is not None})


def precision_recall(matches: ClassMatches) -> PrecisionRecall | None:
    """Return the curve of a class. None without a true object.

    Detections in ignore regions do not count. The area below the curve, with each precision replaced by the
    largest at the same or a higher recall, is AP50 (COCO samples it at 101 levels of recall).
    """
    truth = int(matches.truth[_ALL_SIZES].sum())
    if not truth:
        return None
    counted = ~matches.ignored[_ALL_SIZES, _IOU_50]
    hit, score = matches.hit[_ALL_SIZES, _IOU_50, counted], matches.score[counted]
    hits = np.cumsum(hit)
    precision, recall = hits / np.arange(1, len(hit) + 1), hits / truth
    last = int((score >= SCORE).sum()) - 1
    at_score = (float(recall[last]), float(precision[last])) if last >= 0 else None
    return PrecisionRecall(tuple(recall[hit].tolist()), tuple(precision[hit].tolist()), truth, at_score)
