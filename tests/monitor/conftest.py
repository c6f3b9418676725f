"""A workspace whose monitor has a model and 300 images to compare new ones with."""

from __future__ import annotations

import pytest
from support.factories import write_coco_set
from support.fake_model import add_model, add_rows, score
from support.monitor_checks import QUICK, monitored

from al_loop.core.console import Silent
from al_loop.images.validation_sets import add_validation
from al_loop.loop import cycle_record
from al_loop.loop.cycle import CycleResult
from al_loop.models import scoring
from al_loop.monitor import run as looking
from al_loop.state.workspace import Workspace


@pytest.fixture
def fake_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "score", score)


@pytest.fixture
def watched(workspace: Workspace, tmp_path: object) -> Workspace:
    """A pool of 300 images, and a model that was promoted on it."""
    add_rows(workspace, 300)
    add_model(workspace, "m0")
    return monitored(workspace, triggers=("drift",), drift=QUICK)


@pytest.fixture
def loop(watched: Workspace, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The loop without people and network: a run begins the cycle, the next ends it with another model."""
    add_validation(watched, write_coco_set(tmp_path / "val", 2, seed=3))  # type: ignore[operator]

    def run(workspace: Workspace, k: int | None, reporter: Silent) -> CycleResult:
        cycle = cycle_record.open_cycle(workspace, k, reporter)
        if cycle is None:
            return CycleResult(
                cycle_record.begin_cycle(workspace, k, reporter).number, False, "0 of 25 labelled"
            )
        add_model(workspace, f"cycle-{cycle.number}", cycle.number)
        workspace.store.execute("UPDATE cycles SET outcome = 'promoted' WHERE number = ?", cycle.number)
        return CycleResult(cycle.number, True, "better")

    monkeypatch.setattr(looking, "run_cycle", run)
    return watched
