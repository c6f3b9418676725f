"""Annotator minutes: measured, fitted, or given."""

from __future__ import annotations

import json

import pytest

from al_loop.benchmark.results.labelling_cost import (
    BOX_S,
    IMAGE_S,
    MIN_MEASURED,
    LabellingCost,
    labelling_cost,
)
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
        "INSERT INTO labels (image_id, status, boxes, cycle, lead_time_s, updated_at) "
        "VALUES (?, ?, ?, 1, ?, '2026-01-01')",
        *(image, status, json.dumps([[0, 0, 5, 5, 0]] * boxes), seconds),
    )


def test_measured_seconds_replace_the_model() -> None:
    cost = LabellingCost(10, 7, {"a": 30.0})
    assert cost.minutes([("a", 9), ("b", 2)]) == pytest.approx((30 + 24) / 60)
    assert LabellingCost(10, 7).minutes([]) == 0


def test_the_model_is_not_fitted_to_few_answers(workspace: Workspace) -> None:
    assert labelling_cost(workspace, None, None) == LabellingCost(IMAGE_S, BOX_S)
    answer(workspace, "a", 20.0, 3)
    answer(workspace, "b", None, 3)
    answer(workspace, "c", 9.0, 0, "skipped")
    answer(workspace, "d", 21.0, 2, "empty")
    answer(workspace, "e", 4000.0, 1)  # left open
    cost = labelling_cost(workspace, None, None)
    assert cost == LabellingCost(IMAGE_S, BOX_S, {"a": 20.0, "d": 21.0})
    assert str(cost) == "10 s an image and 7 s a box; measured in Label Studio for 2 images"


def test_the_model_is_fitted_to_many_answers_unless_it_is_given(workspace: Workspace) -> None:
    for number in range(MIN_MEASURED):
        boxes = number % 5
        answer(workspace, f"i{number:02d}", 4.0 + 3.0 * boxes, boxes)
    cost = labelling_cost(workspace, None, None)
    assert (cost.image_s, cost.box_s) == (pytest.approx(4), pytest.approx(3))
    assert "4 s an image and 3 s a box, fitted to 20 answers" in str(cost)
    given = labelling_cost(workspace, 1.0, None)
    assert (given.image_s, given.box_s, given.fitted_to) == (1.0, BOX_S, 0)
    assert len(given.measured) == MIN_MEASURED
