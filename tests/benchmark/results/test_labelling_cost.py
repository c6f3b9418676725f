"""Annotator minutes: measured, fitted, or stated."""

from __future__ import annotations

import json

import pytest

from al_loop.benchmark.results.labelling_cost import BOX_S, ENOUGH, IMAGE_S, Pace, pace_of
from al_loop.state.workspace import Workspace


def answer(
    workspace: Workspace, image: str, seconds: float | None, boxes: int, status: str = "labelled"
) -> None:
    """A label as a pull leaves it."""
    store = workspace.store
    store.execute(
        "INSERT INTO images VALUES (?, ?, '', 10, 10, 'x', 'pool', '2026-01-01', NULL)",
        image,
        f"images/{image}.jpg",
    )
    store.execute(
        "INSERT INTO labels (image_id, status, boxes, cycle, lead_time_s, updated_at) VALUES (?, ?, ?, 1, ?, '2026-01-01')",
        image,
        status,
        json.dumps([[0, 0, 5, 5, 0]] * boxes),
        seconds,
    )


def test_what_was_measured_counts_and_the_model_for_the_rest() -> None:
    pace = Pace(10, 7, {"a": 30.0})
    assert pace.minutes([("a", 9), ("b", 2)]) == pytest.approx((30 + 24) / 60)
    assert Pace(10, 7).minutes([]) == 0


def test_few_answers_are_measurements_and_no_model(workspace: Workspace) -> None:
    assert pace_of(workspace, None, None) == Pace(IMAGE_S, BOX_S)
    answer(workspace, "a", 20.0, 3)
    answer(workspace, "b", None, 3)
    answer(workspace, "c", 9.0, 0, "skipped")
    answer(workspace, "d", 21.0, 2, "empty")
    answer(workspace, "e", 4000.0, 1)  # somebody went home
    pace = pace_of(workspace, None, None)
    assert pace == Pace(IMAGE_S, BOX_S, {"a": 20.0, "d": 21.0})
    assert str(pace) == "10 s an image and 7 s a box; measured in Label Studio for 2 images"


def test_many_answers_make_the_model_unless_it_is_given(workspace: Workspace) -> None:
    for number in range(ENOUGH):
        boxes = number % 5
        answer(workspace, f"i{number:02d}", 4.0 + 3.0 * boxes, boxes)
    pace = pace_of(workspace, None, None)
    assert (pace.image_s, pace.box_s) == (pytest.approx(4), pytest.approx(3))
    assert "4 s an image and 3 s a box, fitted to 20 answers" in str(pace)
    given = pace_of(workspace, 1.0, None)
    assert (given.image_s, given.box_s, given.answers) == (1.0, BOX_S, 0)
    assert len(given.measured) == ENOUGH
