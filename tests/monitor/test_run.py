"""Checks of the monitor: what makes a cycle due, and what follows."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import numpy as np
import pytest
from msgspec import structs
from support.factories import write_coco_set
from support.fake_model import add_model, add_rows, score

from al_loop.core.config import (
    BudgetAdvice,
    Config,
    DriftTrigger,
    MetricTrigger,
    MonitorConfig,
    NewDataTrigger,
    TimeTrigger,
)
from al_loop.core.console import Silent
from al_loop.core.errors import ModelError
from al_loop.images.repository import boxes_to_json
from al_loop.images.validation_sets import add_validation
from al_loop.loop import cycle_record
from al_loop.loop.cycle import CycleResult
from al_loop.models import scoring
from al_loop.monitor import random_audit, triggers, windows
from al_loop.monitor import run as looking
from al_loop.monitor.baseline import baseline
from al_loop.monitor.drift_tests import level
from al_loop.monitor.run import CheckResult, check, to_json
from al_loop.monitor.triggers import Verdict
from al_loop.monitor.windows import open_alarm, windows_of
from al_loop.state import model_registry
from al_loop.state.score_key import ScoreKey
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile
from al_loop.structures.metrics import Metrics

QUICK = DriftTrigger(reference=200)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "score", score)


@pytest.fixture
def watched(workspace: Workspace, tmp_path: object) -> Workspace:
    """A pool of 300 images, and a model that was promoted on it."""
    add_rows(workspace, 300)
    add_model(workspace, "m0")
    return monitored(workspace, triggers=("drift",), drift=QUICK)


def monitored(workspace: Workspace, **settings: object) -> Workspace:
    config: Config = structs.replace(workspace.config, monitor=MonitorConfig(**settings))  # type: ignore[arg-type]
    return Workspace(workspace.root, config, workspace.store)


def see(workspace: Workspace, *, act: bool = False) -> CheckResult:
    return check(workspace, Silent(), act=act)


def verdict(found: CheckResult, trigger: str) -> Verdict:
    return next(v for v in found.verdicts if v.trigger == trigger)


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


def begun(workspace: Workspace) -> int:
    return workspace.store.count("SELECT count(*) FROM cycles")


@pytest.mark.integration
def test_a_shifted_inbox_begins_exactly_one_cycle(loop: Workspace) -> None:
    see(loop, act=True)
    add_rows(loop, 50, "odd")
    first = see(loop, act=True)
    assert (first.triggered, first.windows[0].drifted, begun(loop)) == (
        False,
        True,
        0,
    )  # one window is no alarm
    add_rows(loop, 50, "odd")
    second = see(loop, act=True)
    assert second.triggered
    assert verdict(second, "drift").reason.startswith("embeddings differ by ")
    assert second.cycle == CycleResult(1, False, "0 of 25 labelled")
    add_rows(loop, 50, "odd")  # while people label
    assert not see(loop, act=False).triggered
    ended = see(loop, act=True)
    assert ended.cycle == CycleResult(1, True, "better")
    for _ in range(6):  # the shift has come to stay: it is what the new model was promoted on
        add_rows(loop, 50, "odd")
        after = see(loop, act=True)
        assert not any(w.drifted for w in after.windows)
    for _ in range(3):  # and the old normal may come back
        add_rows(loop, 50)
        assert not any(w.drifted for w in see(loop, act=True).windows)
    assert begun(loop) == 1
    add_rows(loop, 100, "new")  # something else is something else
    later = datetime.now().astimezone() + timedelta(hours=25)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "now", later.isoformat)
        assert see(loop, act=True).triggered
    assert begun(loop) == 2


@pytest.mark.integration
def test_a_hundred_windows_without_a_shift_begin_none(loop: Workspace) -> None:
    for _ in range(10):
        add_rows(loop, 500)
        found = see(loop, act=True)
        assert len(found.windows) == 10
        assert not found.triggered
    assert begun(loop) == 0
    singles = loop.store.count("SELECT sum(drifted) FROM windows")
    assert singles / 100 <= 4 * level(QUICK)  # single windows may, as often as was said


def test_without_act_a_due_cycle_stays_due_until_it_begins(loop: Workspace) -> None:
    see(loop)
    add_rows(loop, 100, "odd")
    assert [see(loop).triggered for _ in range(3)] == [True, True, True]
    assert begun(loop) == 0
    cycle_record.begin_cycle(loop, None, Silent())
    assert not see(loop).triggered


def test_more_boxes_are_a_drift_though_pictures_look_alike(watched: Workspace) -> None:
    see(watched)
    add_rows(watched, 100, "crowded")
    found = see(watched)
    assert found.triggered
    assert "embedding" not in {s.name for s in found.windows[-1].signals if s.drifted}
    assert "the distribution of boxes per image" in verdict(found, "drift").reason


def test_the_most_drifted_images_are_named(watched: Workspace) -> None:
    see(watched)
    add_rows(watched, 42)
    odd = add_rows(watched, 8, "odd")
    (window,) = see(watched).windows
    assert len(set(window.strangest) & set(odd)) >= 6
    assert window.strangest[0] in odd


def test_images_that_came_with_labels_are_no_drift(watched: Workspace) -> None:
    see(watched)
    for name in add_rows(watched, 100, "odd"):
        watched.store.execute(
            "INSERT INTO labels (image_id, status, boxes, annotator, updated_at) "
            "VALUES (?, 'empty', '[]', 'mine.json', '')",
            name,
        )
    assert see(watched).windows == ()
    add_rows(watched, 50, "odd")
    assert see(watched).windows[0].drifted


def test_a_small_shift_is_none_however_sure(watched: Workspace) -> None:
    calm = monitored(watched, triggers=("drift",), drift=structs.replace(QUICK, min_effect=2.0))
    see(calm)
    add_rows(calm, 100, "odd")
    found = see(calm)
    assert not found.triggered
    assert found.windows[0].signals[0].p < 0.01


@pytest.mark.integration
def test_cooldown_and_clocks_that_jump(watched: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    start = datetime.fromisoformat("2026-11-01T08:00:00+00:00")

    def at(hours: float) -> None:
        monkeypatch.setattr(windows, "now", (start + timedelta(hours=hours)).isoformat)

    at(0)
    see(watched)
    add_rows(watched, 100, "odd")
    assert see(watched).triggered
    add_model(watched, "m1", 1)  # another model answers it
    at(5)
    add_rows(watched, 100, "new")
    quiet = see(watched)
    assert not quiet.triggered
    assert "an alarm was raised less than 24 h ago" in verdict(quiet, "drift").reason
    at(25)
    add_rows(watched, 50, "new")
    assert see(watched).triggered
    add_model(watched, "m2", 2)
    at(-1000)  # the clock was wrong before, or is now: it must not silence anything for weeks
    add_rows(watched, 100, "odd")
    see(watched)
    add_rows(watched, 100, "crowded")
    assert see(watched).triggered


def test_a_model_that_came_before_the_photographs(workspace: Workspace) -> None:
    add_model(workspace, "m0")
    here = monitored(workspace, triggers=("drift",), drift=QUICK)
    add_rows(here, 30)
    assert verdict(see(here), "drift").reason == "no reference yet: the pool has less than 50 images"
    add_rows(here, 30)
    see(here)
    reference = baseline(here)
    assert reference is not None
    assert (reference.arrived, {k: len(v) for k, v in reference.drawn.items()}) == (60, {"pool": 60})


def test_the_reference_is_drawn_once_and_not_from_what_came_later(watched: Workspace) -> None:
    first = baseline(watched)
    add_rows(watched, 100, "odd")
    assert baseline(watched) == first
    assert first is not None
    assert len(first.drawn["pool"]) == 200
    assert all(name.startswith("usual") for name in first.drawn["pool"])
    see(watched)
    add_model(watched, "m1", 1)
    second = baseline(watched)
    assert second is not None
    assert set(second.drawn) == {"pool", "before drift 1", "drift 1"}
    assert all(name.startswith("odd") for name in second.drawn["drift 1"])


def test_a_killed_check_is_repeated_without_loss(loop: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    see(loop, act=True)
    add_rows(loop, 100, "odd")
    steps = [
        (looking, "_evaluate"),
        (looking, "evaluate_triggers"),
        (looking, "_record"),
        (looking, "run_cycle"),
    ]
    for module, step in steps:
        with monkeypatch.context() as patch:
            patch.setattr(module, step, _killed)
            with pytest.raises(KeyboardInterrupt):
                see(loop, act=True)
    found = see(loop, act=True)
    assert found.triggered
    assert begun(loop) == 1
    assert loop.store.count("SELECT count(*) FROM windows") == 2
    assert loop.store.count("SELECT count(*) FROM alarms") == 1


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


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
    settings = json.dumps({**json.loads(_settings(workspace))})
    workspace.store.execute(
        "INSERT INTO cycles VALUES (1, 20, ?, 'm0', 'kept', 'x', '2026-01-01', '2026-01-02', 0, 0)", settings
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
    import msgspec

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


def test_no_model_yet_takes_the_photographs_all_the_same(workspace: Workspace, tmp_path: object) -> None:
    pool = write_coco_set(tmp_path / "in", 2, seed=1)  # type: ignore[operator]
    here = monitored(workspace, inbox=(str(pool.parent / "images"),), min_age_s=0)
    with pytest.raises(ModelError, match="no model yet"):
        see(here)
    assert here.store.count("SELECT count(*) FROM images") == 2


def test_json_is_one_line_for_machines(watched: Workspace) -> None:
    see(watched)
    add_rows(watched, 50, "odd")
    text = to_json(see(watched))
    assert "\n" not in text
    found = json.loads(text)
    assert found["model"] == "m0"
    assert found["windows"][0]["drifted"] is True
    assert {"name", "p", "effect", "against", "drifted"} == set(found["windows"][0]["signals"][0])
    assert len(windows_of(watched, 1, 5)) == 1
    assert open_alarm(watched, "drift") is None
