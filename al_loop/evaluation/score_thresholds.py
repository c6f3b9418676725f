"""The score above which a model's boxes of a class are almost always right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from al_loop.evaluation.bootstrap import ClassMatches
from al_loop.structures.boxes import FloatArray

#: Precision that the boxes of a class must have, and the normal quantile of a one-sided 80 % bound.
PRECISION = 0.8
_Z = 0.8416


def precision_bound(correct: FloatArray, total: FloatArray) -> FloatArray:
    """Return the lower bound of one-sided 80 % Wilson intervals of a precision.

    correct, total: (n,) number of correct boxes, and of all boxes, at least 1.
    Source: Wilson 1927.
    """
    share, z2 = correct / total, _Z**2
    spread = _Z * np.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return np.asarray((share + z2 / (2 * total) - spread) / (1 + z2 / total))


def score_thresholds(matches: Sequence[ClassMatches]) -> tuple[float | None, ...]:
    """Return the lowest score of each class above which its boxes are precise enough.

    matches: of each class, on images that the model was not trained on.
    The bound of the precision at IoU 0.50 of all boxes with at least this score is at least `PRECISION`.
    None: no score is high enough, as for a class with fewer than three boxes. Boxes in ignore regions do not
    count.
    """
    return tuple(map(_threshold, matches))


def _threshold(matches: ClassMatches) -> float | None:
    _, score, hit = matches.at_50()
    bound = precision_bound(np.cumsum(hit), np.arange(1.0, len(hit) + 1))
    last_of_equal = np.append(score[1:] < score[:-1], True)[: len(score)]
    enough = np.flatnonzero(last_of_equal & (bound >= PRECISION))
    return float(score[enough[-1]]) if len(enough) else None
