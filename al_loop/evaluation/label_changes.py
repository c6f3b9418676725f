"""What became of the boxes of an image between two versions of its label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from al_loop.structures.boxes import Boxes, iou

#: Least IoU of two boxes of the same object.
_SAME_OBJECT = 0.3
#: Coordinates that differ by less are equal, px: a labelling server stores percent.
_EQUAL_PX = 1e-3


@dataclass(frozen=True)
class BoxChanges:
    """Numbers of boxes that were added, removed, moved or resized, or given another class.

    A box that was moved and has another class counts as both.
    """

    added: int = 0
    removed: int = 0
    moved: int = 0
    renamed: int = 0

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return any(vars(self).values())

    def __add__(self, other: BoxChanges) -> BoxChanges:
        """Return the sum of two counts."""
        return BoxChanges(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def __str__(self) -> str:
        """Describe the changes."""
        return ", ".join(f"{value} {name}" for name, value in vars(self).items() if value) or "none"


def box_changes(before: Boxes, after: Boxes) -> BoxChanges:
    """Return what became of the boxes of an image.

    Boxes are assigned to each other so that the sum of their IoU is largest; an IoU below 0.3 is no match.
    """
    overlaps = iou(before.xyxy, after.xyxy)
    rows, columns = linear_sum_assignment(overlaps, maximize=True)
    same = overlaps[rows, columns] >= _SAME_OBJECT
    rows, columns = rows[same], columns[same]
    moved = np.abs(before.xyxy[rows] - after.xyxy[columns]).max(axis=1, initial=0.0) > _EQUAL_PX
    return BoxChanges(
        added=len(after) - len(rows),
        removed=len(before) - len(rows),
        moved=int(moved.sum()),
        renamed=int((before.labels[rows] != after.labels[columns]).sum()),
    )
