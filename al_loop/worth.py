"""What were the model's boxes worth to the people who corrected them?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from al_loop.boxes import Boxes, iou

#: Overlap from which two boxes are of one object; and up to which a box was left alone (people's hands, rounding).
SAME_OBJECT, LEFT_ALONE = 0.5, 0.97
_SAME_SIZE = 0.02  # share by which sides may differ when a box was only moved


@dataclass(frozen=True)
class Worth:
    """Boxes that were drawn for people, each kept, moved, resized, relabelled or deleted; and boxes that they added."""

    kept: int = 0
    moved: int = 0
    resized: int = 0
    relabelled: int = 0
    deleted: int = 0
    added: int = 0

    @property
    def drawn(self) -> int:
        """How many boxes people got to see."""
        return self.kept + self.moved + self.resized + self.relabelled + self.deleted

    @property
    def final(self) -> int:
        """How many boxes there are in the end."""
        return self.drawn - self.deleted + self.added


def worth(pairs: Iterable[tuple[Boxes, Boxes]]) -> Worth:
    """What became of boxes; pairs of what was drawn on an image and what people made of it.

    Pairs of boxes are chosen so that they overlap most in all (Kuhn 1955), at least by half.
    """
    counts = dict.fromkeys(("kept", "moved", "resized", "relabelled", "deleted", "added"), 0)
    for drawn, final in pairs:
        overlap = iou(drawn.xyxy, final.xyxy)
        rows, columns = linear_sum_assignment(-np.where(overlap >= SAME_OBJECT, overlap, 0.0))
        matched = [(i, j) for i, j in zip(rows, columns, strict=True) if overlap[i, j] >= SAME_OBJECT]
        for i, j in matched:
            counts[_change(drawn, final, int(i), int(j), float(overlap[i, j]))] += 1
        counts["deleted"] += len(drawn) - len(matched)
        counts["added"] += len(final) - len(matched)
    return Worth(**counts)


def _change(drawn: Boxes, final: Boxes, i: int, j: int, overlap: float) -> str:
    """What was done to one box; a new name counts more than a new place."""
    if drawn.labels[i] != final.labels[j]:
        return "relabelled"
    if overlap >= LEFT_ALONE:
        return "kept"
    before, after = (xyxy[2:] - xyxy[:2] for xyxy in (drawn.xyxy[i], final.xyxy[j]))
    return "moved" if (np.abs(after / before - 1) <= _SAME_SIZE).all() else "resized"
