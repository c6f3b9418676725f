"""Triggers of a cycle other than drift: new data, time, the metric, the budget."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import numpy as np
import pytest
from support.fake_model import add_rows, score
from support.monitor_checks import begun, monitored, see, verdict

from al_loop.core.config import BudgetAdvice, MetricTrigger, NewDataTrigger, TimeTrigger
from al_loop.images.repository import boxes_to_json
from al_loop.monitor import random_audit, triggers
from al_loop.state import model_registry
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile
from al_loop.structures.metrics import Metrics

pytestmark = pytest.mark.usefixtures("fake_scores")


def test_new_data_counts_what_came_since_the_last_cycle(loop: Workspace) -> None:
    here = monitored(loop, triggers=("new-data",), new_data=NewDataTrigger(images=350))
    assert verdict(see(here), "new-data").numbers["images"] == 300
    add_rows(here, 50)
    assert see(here, act=True).triggered
    assert begun(here) == 1
    see(here, act=True)
    assert verdict(see(here), "new-data").numbers["images"] == 0
    add_rows(here, 349)
    assert not see(here, act=True).triggered
    add_rows(here, 1)
    assert see(here, act=True).triggered


def test_time_since_the_last_cycle(loop: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    here = monitored(loop, triggers=("time",), time=TimeTrigger(hours=8))
    assert not see(here).triggered
    at = datetime.now().astimezone()
    monkeypatch.setattr(triggers, "now", (at + timedelta(hours=8, minutes=1)).isoformat)
    assert see(here).triggered
    monkeypatch.setattr(triggers, "now", (at - timedelta(hours=48)).isoformat)
    behind = see(here)
    assert not behind.triggered
    assert "the clock is 48.0 h behind the last cycle" in verdict(behind, "time").reason


def test_nothing_is_begun_where_nothing_is_left_to_label(loop: Workspace) -> None:
    here = monitored(loop, triggers=("new-data",), new_data=NewDataTrigger(images=1))
    assert see(here).triggered
    here.store.execute(
        "INSERT INTO labels (image_id, status, boxes, updated_at) "
        "SELECT id, 'empty', '[]', 'now' FROM images WHERE role = 'pool'"
    )
    found = see(here, act=True)
    assert (found.triggered, begun(here)) == (False, 0)


def audited(workspace: Workspace, right: bool) -> None:
    """A finished cycle of 20 images drawn at random, whose labels are the model's boxes, or elsewhere."""
    ids = [
        r["id"]
        for r in workspace.store.rows("SELECT id FROM images WHERE role = 'pool' ORDER BY arrived LIMIT 20")
    ]
    workspace.store.execute(
        "INSERT INTO cycles VALUES (1, 20, ?, 'm0', 'kept', 'x', '2026-01-01', '2026-01-02', 0, 0)",
        _settings(workspace),
    )
    model_registry.save_metrics(workspace, "m0", "val", Metrics(0.6, 0.8, 0.6, {}, 4, 8))
    folder = workspace.scores_dir(ScoreKey.of(workspace.config, "m0"))
    files = [ImageFile(name, workspace.root / name, 64, 64) for name in ids]
    score(workspace, model_registry.get_model(workspace, "m0"), files, folder, lambda *_: None)
    truth = Boxes(np.array([[1.0, 1, 9, 9] if right else [20.0, 20, 60, 60]]), np.zeros(1, np.int64))
    for rank, name in enumerate(ids):
        workspace.store.execute(
            "INSERT INTO picks VALUES (1, ?, ?, 1.0, 'audit', ?, 'labelled', 1, 0)", rank, name, f"1/{name}"
        )
        workspace.store.execute(
            "INSERT INTO labels (image_id, status, boxes, cycle, updated_at) "
            "VALUES (?, 'labelled', ?, 1, 'now')",
            *(name, boxes_to_json(truth)),
        )


def _settings(workspace: Workspace) -> str:
    return msgspec.json.encode(workspace.config).decode()


@pytest.mark.integration
@pytest.mark.parametrize("right", [True, False])
def test_metric_is_measured_on_images_drawn_at_random(watched: Workspace, right: bool) -> None:
    here = monitored(watched, triggers=("metric",), metric=MetricTrigger(images=20))
    assert verdict(see(here), "metric").reason == "0 of 20 images drawn at random are labelled"
    audited(here, right)
    found = verdict(see(here), "metric")
    assert found.due is not right
    assert found.numbers["expected"] == pytest.approx(0.6)
    assert found.numbers["low"] <= found.numbers["ap"] <= found.numbers["high"]
    assert (found.numbers["ap"] > 0.6) is right
    with pytest.MonkeyPatch.context() as patch:  # the same labels are measured once
        patch.setattr(random_audit, "_measure", lambda *_: pytest.fail("measured again"))
        assert verdict(see(here), "metric").numbers == found.numbers


def evaluated_cycles(workspace: Workspace, *aps: float) -> None:
    model_registry.save_metrics(workspace, "m0", "val", Metrics(aps[0], 0.5, 0.5, {}, 4, 8))
    for number, ap in enumerate(aps[1:], start=1):
        model_registry.register_model(workspace, f"cycle-{number}", "cycle", f"{number}" * 64, None, number)
        model_registry.save_metrics(workspace, f"cycle-{number}", "val", Metrics(ap, 0.5, 0.5, {}, 4, 8))
        workspace.store.execute(
            "INSERT INTO cycles VALUES (?, 25, ?, ?, 'promoted', 'x', '2026-01-01', '2026-01-02', 0, 0)",
            number, _settings(workspace), f"cycle-{number - 1}" if number > 1 else "m0",
        )  # fmt: skip
        ids = workspace.store.rows(
            "SELECT id FROM images WHERE role = 'pool' ORDER BY arrived LIMIT 25 OFFSET ?", 25 * (number - 1)
        )
        for row in ids:
            workspace.store.execute(
                "INSERT INTO labels (image_id, status, boxes, cycle, updated_at) "
                "VALUES (?, 'empty', '[]', ?, 'now')",
                *(row["id"], number),
            )


def test_budget_carries_the_curve_on(watched: Workspace) -> None:
    here = monitored(watched, triggers=("budget",))
    assert "too few cycles" in verdict(see(here), "budget").reason
    curve = [0.2 + 0.1 * np.log1p(n) for n in range(4)]  # straight over log(1 + labels / 25)
    evaluated_cycles(here, *curve)
    found = verdict(see(here), "budget")
    expected = 0.1 * (np.log(5) - np.log(4))
    assert [found.numbers[name] for name in ("gain", "low", "high")] == pytest.approx(
        [expected] * 3, abs=1e-9
    )
    assert (found.due, found.hold, found.numbers["flat"]) == (False, False, 0.0)


def test_a_flat_curve_is_advice_and_holds_only_where_asked(loop: Workspace) -> None:
    evaluated_cycles(loop, 0.2, 0.3, 0.302, 0.303)
    data = NewDataTrigger(images=1)
    advice = monitored(loop, triggers=("new-data", "budget"), new_data=data)
    add_rows(advice, 5)
    found = see(advice)
    assert verdict(found, "budget").reason.startswith(
        "the last two cycles gained +0.002 and +0.001 AP: stop, or widen the pool"
    )
    assert found.triggered
    holding = monitored(loop, triggers=("new-data", "budget"), new_data=data, budget=BudgetAdvice(hold=True))
    assert not see(holding).triggered
