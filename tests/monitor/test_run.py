"""Checks of the monitor: what makes a cycle due, and what follows."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from msgspec import structs
from support.factories import write_coco_set
from support.fake_model import add_model, add_rows
from support.monitor_checks import QUICK, begun, monitored, see, verdict

from al_loop.core.console import Silent
from al_loop.core.errors import ModelError
from al_loop.loop import cycle_record
from al_loop.loop.cycle import CycleResult
from al_loop.monitor import run as looking
from al_loop.monitor import windows
from al_loop.monitor.baseline import baseline
from al_loop.monitor.drift_tests import level
from al_loop.monitor.run import to_json
from al_loop.monitor.windows import open_alarm, windows_of
from al_loop.state.workspace import Workspace

pytestmark = pytest.mark.usefixtures("fake_scores")


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
