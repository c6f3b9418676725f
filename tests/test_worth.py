"""What became of the model's boxes, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

from al_loop.boxes import Boxes
from al_loop.worth import Worth, worth

Make = Callable[..., Boxes]


def test_each_box_is_one_thing(make_boxes: Make) -> None:
    drawn = make_boxes(
        (0, 0, 100, 100, 0, 0.9),  # kept, with a hand's tremble
        (200, 0, 300, 100, 0, 0.9),  # moved by 20
        (400, 0, 500, 100, 0, 0.9),  # made wider
        (0, 200, 100, 300, 0, 0.9),  # of another class, and moved a little too
        (200, 200, 300, 300, 0, 0.9),  # deleted
    )
    final = make_boxes(
        (0, 0, 100.5, 100, 0),
        (220, 0, 320, 100, 0),
        (400, 0, 520, 100, 0),
        (5, 200, 105, 300, 1),
        (400, 200, 500, 300, 0),  # added
        (600, 200, 700, 300, 1),  # added
    )
    found = worth([(drawn, final)])
    assert found == Worth(kept=1, moved=1, resized=1, relabelled=1, deleted=1, added=2)
    assert (found.drawn, found.final) == (5, 6)


def test_crowded_boxes_are_paired_so_that_all_fit(make_boxes: Make) -> None:
    """The first box overlaps both of the others more than half: taken greedily, one would be left over."""
    drawn = make_boxes((0, 0, 100, 100, 0, 0.9), (20, 0, 120, 100, 0, 0.8))
    final = make_boxes((20, 0, 120, 100, 0), (-20, 0, 80, 100, 0))
    assert worth([(drawn, final)]) == Worth(kept=1, moved=1)


def test_nothing_drawn_or_nothing_there(make_boxes: Make) -> None:
    one = make_boxes((0, 0, 9, 9, 0, 0.5))
    assert worth([(Boxes(), one), (one, Boxes()), (Boxes(), Boxes())]) == Worth(deleted=1, added=1)
    assert worth([]) == Worth()
