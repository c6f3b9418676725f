"""A workspace to report on."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.workspace_history import (
    NASTY,
    add_cycle,
    add_model,
    add_pick,
    add_pool,
    add_predictions,
    boxes,
    metrics,
)

from al_loop.state.model_registry import get_model, promote
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes


@pytest.fixture
def ran(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace after a cycle of three picks: one labelled, one empty, one skipped."""
    ids = add_pool(workspace, tmp_path / "in", [NASTY, "empty.png", "skipped.png", "rest.png"])
    add_model(workspace, "m0", metrics(0.2, 0.25, 0.1))
    promote(workspace, get_model(workspace, "m0"), "the first model, AP 0.200")
    add_cycle(workspace, 1, reason="AP 0.200 → 0.300: <not> worse")
    labelled = boxes((100, 50, 300, 150, 0), (400, 200, 500, 390, 1))
    add_pick(workspace, 1, 0, ids[NASTY], "labelled", labelled, reason="rank 1 & <best>")
    add_pick(workspace, 1, 1, ids["empty.png"], "empty", Boxes())
    add_pick(workspace, 1, 2, ids["skipped.png"], "skipped", Boxes())
    seen = boxes((110, 60, 310, 160, 0, 0.91), (600, 10, 700, 60, 1, 0.3), (5, 5, 20, 20, 1, 0.29))
    add_predictions(workspace, {ids[NASTY]: seen, ids["empty.png"]: seen, ids["skipped.png"]: boxes()})
    add_model(workspace, "cycle-1", metrics(0.3, 0.2, 0.4), cycle=1, images=2)
    promote(workspace, get_model(workspace, "cycle-1"), "AP 0.200 → 0.300: <not> worse")
    return workspace
