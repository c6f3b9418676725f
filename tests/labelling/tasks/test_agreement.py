"""Several people on one image, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from al_loop.labelling.tasks.agreement import (
    Annotation,
    Policy,
    choose,
    consensus,
    disagreement,
    latest_per_person,
)
from al_loop.labelling.tasks.convert import RefusedResultError, parse_value
from al_loop.structures.boxes import Boxes

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


def test_disagreement(make_boxes: Make) -> None:
    one, other = make_boxes((0, 0, 10, 10, 0)), make_boxes((0, 0, 10, 10, 1))
    both = make_boxes((0, 0, 10, 10, 0), (50, 50, 60, 60, 0))
    assert disagreement([one, one]) == 0
    assert disagreement([one, other]) == 1  # the same place, another name
    assert disagreement([one, both]) == pytest.approx(1 / 3)
    assert disagreement([Boxes(), Boxes()]) == 0
    assert disagreement([one, one, Boxes()]) == pytest.approx(0.5)  # pairs: 2 of 2 alike, 0 of 1, 0 of 1
