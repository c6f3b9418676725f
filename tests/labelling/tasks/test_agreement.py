"""Several people on one image, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from al_loop.labelling.client.task import Agreement
from al_loop.labelling.tasks.agreement import (
    Annotation,
    Policy,
    agreement,
    choose,
    consensus,
    latest_per_person,
)
from al_loop.labelling.tasks.regions import RefusedResultError, parse_value
from al_loop.structures.boxes import Boxes
from al_loop.structures.segmentation import hull, mask, mask_iou

Make = Callable[..., Boxes]
USERS = {1: "ada@example.org", 2: "bob@example.org"}


def annotation(number: int, by: int | None, **more: Any) -> Annotation:
    return Annotation(number, f"2026-01-01T00:00:0{number}Z", by, **more)


ADA, BOB, TRUTH = annotation(1, 1), annotation(3, 2), annotation(2, 2, ground_truth=True)
SKIP = annotation(4, 1, was_cancelled=True)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(), 3),
        (Policy("user", ("ada@example.org",)), 1),
        # The first of the list who has labelled it.
        (Policy("user", ("eve@example.org", "ada@example.org")), 1),
        (Policy("user", ("eve@example.org",)), 3),  # nobody of the list has: the newest
        (Policy("ground-truth"), 2),
        (Policy("consensus"), 3),
    ],
)
def test_whose_annotation_counts(policy: Policy, expected: int) -> None:
    found = choose([BOB, SKIP, TRUTH, ADA], policy, USERS)
    assert found is not None
    assert found.id == expected


@pytest.mark.parametrize("wrong", [True, "x", 1.5, [1], {}, {"id": None}, {"id": [1]}], ids=repr)
@pytest.mark.parametrize("name", ["id", "updated_at", "was_cancelled", "ground_truth", "completed_by"])
def test_an_annotation_that_cannot_be_read_is_refused(name: str, wrong: Any) -> None:
    if (name, wrong) in [("was_cancelled", True), ("ground_truth", True), ("updated_at", "x")]:
        return
    good = {"id": 1, "completed_by": {"id": 1, "email": "ada@example.org"}, "updated_at": "2026", "draft": 1}
    (read,) = parse_value([good], list[Annotation], "the task")
    assert read.author(USERS) == "ada@example.org"
    for some in ([good, good | {name: wrong}], [good, wrong], wrong):
        with pytest.raises(RefusedResultError, match="the task cannot be read: "):
            parse_value(some, list[Annotation], "the task")


def test_skips_and_nothing() -> None:
    assert choose([SKIP], Policy("ground-truth"), USERS) == SKIP
    assert choose([], Policy(), USERS) is None


def test_each_person_counts_once() -> None:
    assert [a.id for a in latest_per_person([BOB, SKIP, TRUTH, ADA, annotation(5, None)], USERS)] == [1, 3, 5]


def test_consensus_keeps_what_more_than_half_have_drawn(make_boxes: Make) -> None:
    people = [
        make_boxes((0, 0, 10, 10, 0), (50, 50, 60, 60, 1)),
        make_boxes((1, 0, 11, 10, 0), (80, 80, 90, 90, 0)),
        make_boxes((2, 0, 12, 10, 1), (50, 50, 62, 60, 1)),
    ]
    found = consensus(people)
    np.testing.assert_allclose(found.xyxy, [[1, 0, 11, 10], [50, 50, 61, 60]])
    assert found.labels.tolist() == [0, 1]


def test_half_is_not_more_than_half(make_boxes: Make) -> None:
    assert len(consensus([make_boxes((0, 0, 9, 9, 0)), Boxes()])) == 0
    assert len(consensus([Boxes(), Boxes()])) == 0


def test_two_boxes_of_one_person_are_two_objects(make_boxes: Make) -> None:
    crowded = make_boxes((0, 0, 100, 100, 0), (20, 0, 120, 100, 0))
    assert len(consensus([crowded, crowded])) == 2


def share(*people: Boxes) -> float:
    """The share of objects that people drew alike."""
    return agreement(dict(zip("abc", people, strict=False)), ("bolt", "nut")).share


def test_agreement_of_objects(make_boxes: Make) -> None:
    one, other = make_boxes((0, 0, 10, 10, 0)), make_boxes((0, 0, 10, 10, 1))
    both = make_boxes((0, 0, 10, 10, 0), (50, 50, 60, 60, 0))
    assert share(one, one) == 1
    assert share(one, other) == 0  # the same place, another name
    assert share(one, both) == pytest.approx(2 / 3)
    assert share(Boxes(), Boxes()) == 1
    assert share(one, one, Boxes()) == pytest.approx(0.5)  # pairs: 2 of 2 alike, 0 of 1, 0 of 1


def test_agreement_of_each_person_and_class(make_boxes: Make) -> None:
    careful = make_boxes((0, 0, 10, 10, 0), (50, 50, 60, 60, 1))
    found = agreement(
        {"ada": careful, "bob": careful, "eve": make_boxes((0, 0, 10, 10, 0))}, ("bolt", "nut", "pin")
    )
    # ada and bob: 4 of 4 alike; ada and eve, bob and eve: 2 of 3 each.
    assert found.people == {"ada": (6, 7), "bob": (6, 7), "eve": (4, 6)}
    assert found.classes == {"bolt": (6, 6), "nut": (2, 4)}
    assert str(found) == ("80 % of the objects (eve 67 %, ada 86 %, bob 86 %; nut 50 %, bolt 100 %)")
    more = found + Agreement({"ada": (0, 3)}, {"pin": (0, 3)})
    assert more.people["ada"] == (6, 10)
    assert more.classes == {"bolt": (6, 6), "nut": (2, 4), "pin": (0, 3)}
    assert more.share == pytest.approx(8 / 13)
    assert agreement({"ada": careful}, ("bolt", "nut")) == Agreement()
    assert not agreement({"ada": Boxes(), "bob": Boxes()}, ("bolt", "nut")).classes  # nothing to say


def strip(start: tuple[int, int], end: tuple[int, int], wide: float) -> np.ndarray:
    """The pixels (100, 100) nearer than `wide` to a line."""
    y, x = np.mgrid[:100, :100] + 0.5
    (x1, y1), (x2, y2) = start, end
    return np.abs((y2 - y1) * (x - x1) - (x2 - x1) * (y - y1)) / np.hypot(x2 - x1, y2 - y1) < wide


def drawn(*pixels: np.ndarray | None, boxes: Sequence[Sequence[float]] = ()) -> Boxes:
    """Objects of class 0: with these pixels, or these boxes where there are none."""
    outlines = tuple(None if one is None else mask(one) for one in pixels)
    free = iter(boxes)
    corners = [next(free) if one is None else hull(one) for one in outlines]
    return Boxes(np.array(corners, np.float64), np.zeros(len(corners), np.int64), outlines=outlines)


RISING, FALLING = strip((0, 100), (100, 0), 3), strip((0, 0), (100, 100), 3)
WHOLE = [0.0, 0.0, 100.0, 100.0]


def test_outlines_disagree_where_their_boxes_do_not() -> None:
    """Two scratches that cross each other have the same box."""
    assert share(drawn(RISING), drawn(FALLING)) == 0
    assert share(drawn(RISING), drawn(RISING)) == 1
    assert share(drawn(RISING), drawn(None, boxes=[WHOLE])) == 1  # a box has no outline to compare
    assert share(drawn(RISING, FALLING), drawn(FALLING, RISING)) == 1
    polygon = Boxes(np.array([WHOLE]), np.array([0]), outlines=([[0.0, 95, 95, 0, 100, 5, 5, 100]],))
    assert share(drawn(RISING), polygon) == 1
    assert share(drawn(FALLING), polygon) == 0
    assert share(polygon, polygon) == 1


def test_a_scratch_that_two_draw_beside_each_other_is_one_object() -> None:
    """Their outlines hardly overlap; without a match the object would be lost."""
    beside = np.roll(RISING, 5, axis=1)
    assert mask_iou(mask(RISING), mask(beside)) < 0.5
    agreed = consensus([drawn(RISING, FALLING), drawn(FALLING, beside)])
    assert len(agreed) == 2
    assert agreed.outlines == (mask(RISING), mask(FALLING))


def test_the_outline_that_overlaps_the_others_most_is_kept() -> None:
    wide, thin = strip((0, 100), (100, 0), 6), strip((0, 100), (100, 0), 2)
    agreed = consensus([drawn(wide), drawn(thin), drawn(RISING), drawn(None, boxes=[WHOLE])])
    assert agreed.outlines == (mask(RISING),)
    np.testing.assert_array_equal(agreed.xyxy, [hull(mask(RISING))])
