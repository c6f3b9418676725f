"""What became of the boxes of an image."""

from __future__ import annotations

import numpy as np
import pytest

from al_loop.evaluation.label_changes import BoxChanges, box_changes
from al_loop.structures.boxes import Boxes


def boxes(*rows: tuple[float, float, float, float, int]) -> Boxes:
    table = np.array(rows, float).reshape(-1, 5)
    return Boxes(table[:, :4], table[:, 4].astype(np.int64))


BEFORE = boxes((0, 0, 10, 10, 0), (20, 0, 30, 10, 1))


@pytest.mark.parametrize(
    ("after", "changes", "text"),
    [
        (boxes((20, 0, 30, 10, 1), (0, 0, 10, 10, 0)), BoxChanges(), "none"),
        (boxes((0, 0, 10, 10, 0)), BoxChanges(removed=1), "1 removed"),
        (boxes((0, 0, 10, 10, 0), (20, 0, 30, 10, 0)), BoxChanges(renamed=1), "1 renamed"),
        (boxes((0, 0, 10, 8, 0), (20, 0, 30, 10, 1)), BoxChanges(moved=1), "1 moved"),
        (boxes((0, 0, 10, 8, 1), (20, 0, 30, 10, 1)), BoxChanges(moved=1, renamed=1), "1 moved, 1 renamed"),
        (boxes((7.5, 0, 17.5, 10, 0), (20, 0, 30, 10, 1)), BoxChanges(1, 1), "1 added, 1 removed"),
        (boxes(), BoxChanges(removed=2), "2 removed"),
    ],
)
def test_the_changes_of_two_boxes(after: Boxes, changes: BoxChanges, text: str) -> None:
    found = box_changes(BEFORE, after)
    assert (found, str(found), bool(found)) == (changes, text, text != "none")


def test_of_two_boxes_on_one_object_the_nearer_is_the_same() -> None:
    """The first box overlaps both; the sum is largest if it is the second one's neighbour."""
    before = boxes((0, 0, 10, 10, 0), (2, 0, 12, 10, 0))
    after = boxes((1, 0, 11, 10, 0), (4, 0, 14, 10, 0))
    assert box_changes(before, after) == BoxChanges(moved=2)


def test_changes_add_up() -> None:
    assert sum([BoxChanges(1, 2, 3, 4), BoxChanges(0, 1, 0, 1)], BoxChanges()) == BoxChanges(1, 3, 3, 5)
