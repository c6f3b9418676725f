"""Precision over recall of a class, from the matches of its detections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from al_loop.evaluation.bootstrap import ClassMatches
from al_loop.evaluation.detection_counts import SCORE

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
