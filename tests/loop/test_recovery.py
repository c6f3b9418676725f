"""A cycle can always end: with other settings, or without a new model; the labels stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.small_loop import SmallLoop, small_loop

from al_loop.core.console import Silent
from al_loop.core.errors import ConfigError, DataError, TrainingError
from al_loop.images import repository
from al_loop.loop.cycle import run_cycle
from al_loop.loop.manifest import complete_manifests
from al_loop.loop.recovery import abandon, refreeze
from al_loop.loop.status import describe
from al_loop.loop.verify import verify
from al_loop.models import model_training, scoring
from al_loop.monitor.stopping import curve
from al_loop.monitor.triggers import TRIGGERS
from al_loop.report import report_json, write_report
from al_loop.state import model_registry
from al_loop.state.prediction_store import ShardStore
from al_loop.state.workspace import Workspace, open_workspace
from al_loop.structures.images import ImageFile


@pytest.fixture
def loop(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallLoop:
    path = workspace.root / "al-loop.toml"
    path.write_text(path.read_text().replace("k = 25", "k = 10"))
    return small_loop(open_workspace(workspace.root), tmp_path, monkeypatch)


def begin_as_an_older_al_loop(loop: SmallLoop, key: str, value: str, frozen: object) -> None:
    """Freeze a value that an older al-loop accepted and this one refuses."""
    table, name = key.split(".")
    row = loop.workspace.store.row("SELECT settings FROM cycles WHERE outcome IS NULL")
    assert row is not None
    settings = json.loads(row["settings"])
    settings[table][name] = frozen
    loop.workspace.store.execute("UPDATE cycles SET settings = ? WHERE outcome IS NULL", json.dumps(settings))
    write_setting(loop.workspace.root, key, value)


def write_setting(root: Path, key: str, value: str) -> None:
    table, name = key.split(".")
    path, lines, inside = root / "al-loop.toml", list[str](), False
    for line in path.read_text().splitlines():
        inside = line.startswith(f"[{table}]") if line.startswith("[") else inside
        if not (inside and line.startswith(f"{name} = ")):
            lines.append(line)
        if line.startswith(f"[{table}]"):
            lines.append(f"{name} = {value}")
    path.write_text("\n".join(lines) + "\n")


WRONG = [
    ("train.seed", "-1", -1, "7", "an integer from 0 to 4294967295"),
    ("train.epochs", "1000000000000", 10**12, "2", "an integer from 1 to 100000"),
    ("train.lr", "1e308", 1e308, "0.001", "a number from 1e-12 to 10"),
    ("cycle.beta", "inf", None, "3.0", "a number from 1 to 1000"),
]


@pytest.mark.integration
@pytest.mark.parametrize(("key", "text", "frozen", "right", "allowed"), WRONG)
def test_frozen_by_an_older_al_loop_then_refrozen_and_finished(
    loop: SmallLoop, run: Any, key: str, text: str, frozen: object, right: str, allowed: str
) -> None:
    root = loop.workspace.root
    loop.answered = 0.0
    if key.startswith("train"):
        assert not run_cycle(loop.workspace, None, Silent()).finished  # people label
    else:
        from al_loop.loop.cycle_record import begin_cycle

        begin_cycle(loop.workspace, None, Silent())
    begin_as_an_older_al_loop(loop, key, text, frozen)
    loop.answered = 1.0

    code, _, err = run("-w", root, "cycle")
    assert code == 1
    assert f"al-loop.toml: {key} = " in err
    assert f"expected {allowed}. Correct it and run again." in err

    write_setting(root, key, right)
    code, _, err = run("-w", root, "cycle")
    assert code == 1
    assert f"cycle 1 began with {key} = " in err
    assert f"expected {allowed}. Correct it in al-loop.toml, then: al-loop cycle --refreeze." in err
    assert "al-loop cycle --abandon" in err
    assert "Traceback" not in err
    assert run("-w", root, "status")[0] == 0

    code, out, _ = run("-w", root, "cycle", "--refreeze")
    assert code == 0
    assert f"{key}: " in out
    assert "cycle 1 is finished" in out
    name = key.split(".")[1]
    if key.startswith("train"):
        assert f"{getattr(loop.trained[-1], name):g}" == f"{float(right):g}"
    row = loop.workspace.store.row("SELECT settings, outcome FROM cycles")
    assert row is not None
    assert row["outcome"] == "promoted"
    assert json.loads(row["settings"])[key.split(".")[0]][name] == float(right)
    assert not [f.text for f in verify(loop.workspace, 1) if f.changed]


@pytest.mark.integration
@pytest.mark.parametrize(("key", "text", "frozen", "right", "allowed"), WRONG[:1])
def test_frozen_then_abandoned_and_the_next_cycle_learns_from_its_labels(
    loop: SmallLoop, run: Any, key: str, text: str, frozen: object, right: str, allowed: str
) -> None:
    root = loop.workspace.root
    loop.answered = 0.0
    run_cycle(loop.workspace, None, Silent())
    begin_as_an_older_al_loop(loop, key, text, frozen)
    write_setting(root, key, right)
    loop.answered = 0.6  # six of ten, none of which was pulled yet

    code, out, _ = run("-w", root, "cycle", "--abandon")
    assert code == 0
    assert "pull: 6 of 10 answered" in out
    assert "cycle 1 is abandoned: 6 labels kept (6 labelled)" in out
    assert "4 of its picks have no label and may be picked again" in out
    assert "127.0.0.1" not in out  # the server does not run: its old address may belong to another program
    assert len(repository.labelled(loop.workspace)) == 6

    loop.answered = 1.0
    code, out, _ = run("-w", root, "cycle")
    assert "cycle 2: k = 10, model m0, 54 unlabelled images" in out
    assert "train: 16 images" in out
    assert "cycle 2 is finished" in out
    row = loop.workspace.store.row("SELECT count(*) AS n FROM labels WHERE cycle = 1")
    assert row is not None
    assert row["n"] == 6

    # All readers of cycles accept this outcome.
    with pytest.raises(DataError, match="cycle 1 was abandoned and has no manifest"):
        verify(loop.workspace, 1)
    complete_manifests(loop.workspace)
    assert not (loop.workspace.cycle_dir(1) / "manifest.json").exists()
    assert not [f.text for f in verify(loop.workspace, 2) if f.changed]
    assert json.loads(report_json(open_workspace(root)))["cycles"][1]["outcome"] == "abandoned"
    assert [labels for labels, _ in curve(loop.workspace)] == []
    page = write_report(open_workspace(root), root / "report.html").read_text()
    assert "Abandoned: 6 labels kept (6 labelled)" in page
    assert page.count("Kept the old model") == 0


def test_what_status_and_triggers_say_of_it(loop: SmallLoop) -> None:
    loop.answered = 0.5
    run_cycle(loop.workspace, None, Silent())
    number, summary = abandon(loop.workspace, Silent())
    assert number == 1
    assert not list(loop.workspace.cycle_dir(1).glob("*.partial"))
    assert summary.startswith("5 labels kept (5 labelled)\n5 of its picks have no label")
    assert "cycle       1 abandoned: 5 labels kept (5 labelled)" in describe(loop.workspace)
    # It answered no trigger: all unlabelled images count as new.
    assert TRIGGERS["new-data"](loop.workspace).numbers["images"] == 55
    with pytest.raises(DataError, match="nothing to abandon"):
        abandon(loop.workspace, Silent())


def test_the_server_may_be_gone(loop: SmallLoop, run: Any) -> None:
    loop.answered = 0.3
    run_cycle(loop.workspace, None, Silent())
    loop.answered = None
    code, out, _ = run("-w", loop.workspace.root, "cycle", "--abandon")
    assert code == 0
    assert "the labelling server cannot be reached (no answer" in out
    assert "3 labels kept" in out


def test_before_the_push_everything_can_be_taken(loop: SmallLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Selected and not pushed: the new strategy selects again from the same scores."""

    def broken(*_: object) -> None:
        raise DataError("the push was not reached")

    with monkeypatch.context() as patched:
        patched.setattr("al_loop.loop.cycle.push_stage", broken)
        with pytest.raises(DataError, match=r"(?s)not reached.*Cycle 1 stays open.*--refreeze.*--abandon"):
            run_cycle(loop.workspace, None, Silent())
    before = [
        row["image_id"] for row in loop.workspace.store.rows("SELECT image_id FROM picks ORDER BY rank")
    ]
    root = loop.workspace.root
    write_setting(root, "cycle.strategy", '"random"')
    write_setting(root, "cycle.k", "12")
    again = open_workspace(root)
    refreeze(again, None, Silent())

    def score(
        _: object, __: object, images: list[ImageFile], folder: Path, *___: object, **____: object
    ) -> list[object]:
        assert not ShardStore(folder).missing(images)
        return []

    monkeypatch.setattr(scoring, "score", score)
    assert run_cycle(again, None, Silent()).finished
    after = [row["image_id"] for row in again.store.rows("SELECT image_id FROM picks ORDER BY rank")]
    assert len(after) == 12
    assert len(set(after) & set(before)) < 10
    assert not [f.text for f in verify(again, 1) if f.changed]


def test_after_the_push_the_selection_stays(loop: SmallLoop, run: Any) -> None:
    root = loop.workspace.root
    loop.answered = 0.0
    run_cycle(loop.workspace, None, Silent())
    write_setting(root, "cycle.beta", "5.0")
    write_setting(root, "score.score_thr", "0.5")
    write_setting(root, "train.steps", "3")
    loop.answered = 1.0
    code, out, _ = run("-w", root, "cycle", "--refreeze")
    assert code == 0
    assert "train.steps: 400 → 3" in out
    assert "cycle.beta = 2.0 stays; al-loop.toml says 5.0: the images are selected already" in out
    assert "score.score_thr = 0.05 stays" in out
    assert loop.trained[-1].steps == 3
    assert len(loop.pushed) == 1
    settings = json.loads(loop.workspace.store.rows("SELECT settings FROM cycles")[0]["settings"])
    assert settings["cycle"]["beta"] == 2.0


def write_task(root: Path, task: str) -> None:
    path = root / "al-loop.toml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("task = ")]
    path.write_text("\n".join([f'task = "{task}"', *lines]) + "\n")


def test_another_task_while_people_label(loop: SmallLoop, run: Any) -> None:
    """The project has the controls of the task that it was made for."""
    root = loop.workspace.root
    loop.answered = 0.0
    run_cycle(loop.workspace, None, Silent())
    write_task(root, "segmentation")
    loop.answered = 0.6
    for options in ((), ("--partial",), ("--refreeze",)):
        code, out, err = run("-w", root, "cycle", *options)
        assert code == 1
        assert err.count("error: ") == 1
        assert 'cycle 1 was pushed with task = "detection"; al-loop.toml says "segmentation" now' in err
        assert 'Restore task = "detection" until the cycle is finished' in err
        assert "al-loop cycle --abandon" in err
    assert "task = 'detection' stays; al-loop.toml says 'segmentation'" in out
    assert not repository.labelled(loop.workspace)
    write_task(root, "detection")
    code, out, _ = run("-w", root, "cycle", "--partial")
    assert (code, "cycle 1 is finished" in out) == (0, True)


def test_after_another_task_the_cycle_can_be_given_up(loop: SmallLoop, run: Any) -> None:
    root = loop.workspace.root
    loop.answered = 0.0
    run_cycle(loop.workspace, None, Silent())
    write_task(root, "segmentation")
    loop.answered = 0.6
    code, out, _ = run("-w", root, "cycle", "--abandon")
    assert (code, "6 labels kept (6 labelled)" in out) == (0, True)


def test_another_task_before_the_push_and_after_the_pull(
    loop: SmallLoop, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from al_loop.loop.cycle_record import begin_cycle

    root = loop.workspace.root
    begin_cycle(loop.workspace, None, Silent())
    write_task(root, "segmentation")
    code, _, err = run("-w", root, "cycle")
    assert code == 1
    assert 'cycle 1 began with task = "detection"; al-loop.toml says "segmentation" now' in err
    assert "Apply it to the cycle: al-loop cycle --refreeze" in err

    def fails(*_: object, **__: object) -> None:
        raise TrainingError("the loss is not finite")

    with monkeypatch.context() as patch:
        patch.setattr(model_training, "train_model", fails)
        code, out, err = run("-w", root, "cycle", "--refreeze")
    assert "task: 'detection' → 'segmentation'" in out
    assert "the loss is not finite" in err
    write_task(root, "detection")  # the labels are pulled: the task of the project does not matter
    code, out, _ = run("-w", root, "cycle")
    assert (code, "cycle 1 is finished" in out) == (0, True)


def test_a_late_k_and_no_cycle(loop: SmallLoop, run: Any) -> None:
    root = loop.workspace.root
    code, _, err = run("-w", root, "cycle", "--refreeze")
    assert (code, "no cycle is under way" in err) == (1, True)
    loop.answered = 0.0
    run_cycle(loop.workspace, None, Silent())
    with pytest.raises(ConfigError, match="was pushed with k = 10"):
        refreeze(loop.workspace, 11, Silent())
    assert run("-w", root, "cycle", "--abandon", "--k", "3")[0] == 1


def test_a_value_that_only_the_selection_read_does_not_stop_what_comes_after(loop: SmallLoop) -> None:
    """beta = 5000 is refused today; the cycle that was selected with it continues."""
    loop.answered = 0.0
    run_cycle(loop.workspace, None, Silent())
    row = loop.workspace.store.rows("SELECT settings FROM cycles")[0]
    settings = json.loads(row["settings"])
    settings["cycle"]["beta"] = 5000.0
    loop.workspace.store.execute("UPDATE cycles SET settings = ?", json.dumps(settings))
    loop.answered = 1.0
    assert run_cycle(loop.workspace, None, Silent()).finished


def test_a_training_that_always_fails_names_the_ways_out(
    loop: SmallLoop, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise TrainingError("the loss is not finite")

    monkeypatch.setattr(model_training, "train_model", fails)
    code, _, err = run("-w", loop.workspace.root, "cycle")
    assert code == 1
    assert "the loss is not finite\nCycle 1 stays open and keeps its labels." in err
    run("-w", loop.workspace.root, "cycle", "--abandon")
    assert model_registry.current_model(loop.workspace).id == "m0"
    assert len(repository.labelled(loop.workspace)) == 10
    from al_loop.models.gc import gc

    assert "models/cycle-1.partial" in "\n".join(gc(loop.workspace, (), dry_run=True))


@pytest.mark.integration
@pytest.mark.parametrize("settings", ["[]", "{", "null", '"small"'])
def test_a_cycle_whose_settings_cannot_be_read_can_be_given_up(
    loop: SmallLoop, run: Any, settings: str
) -> None:
    root = loop.workspace.root
    loop.answered = 0.0
    run_cycle(loop.workspace, None, Silent())
    loop.workspace.store.execute("UPDATE cycles SET settings = ?", settings)
    loop.answered = 0.6
    for command in (["cycle"], ["cycle", "--refreeze"]):
        code, _, err = run("-w", root, *command)
        assert code == 1
        assert "cannot be read" in err
        assert "al-loop cycle --abandon" in err
    code, out, _ = run("-w", root, "cycle", "--abandon")
    assert code == 0
    assert "cycle 1 is abandoned: 6 labels kept (6 labelled)" in out


def test_damaged_entries_of_the_database_end_a_command_with_a_message(loop: SmallLoop, run: Any) -> None:
    root, store = loop.workspace.root, loop.workspace.store
    run_cycle(loop.workspace, None, Silent())
    before = store.row("SELECT boxes FROM labels WHERE cycle = 1")
    assert before is not None
    for boxes in ("[[1, 2, NaN, 9, 0]]", "{", "[[1, 2]]", "3", '"x"'):
        store.execute("UPDATE labels SET boxes = ?", boxes)
        code, _, err = run("-w", root, "verify", "1")
        assert (code, "al-loop doctor" in err) == (1, True)
    store.execute("UPDATE labels SET boxes = '{'")
    code, _, err = run("-w", root, "report", "--json")
    assert (code, "holds a damaged entry (malformed JSON). See which: al-loop doctor" in err) == (1, True)
    store.execute("UPDATE labels SET boxes = ?", before["boxes"])
    for output in ("[]", "{"):
        store.execute("UPDATE stages SET output = ?", output)
        code, _, err = run("-w", root, "verify", "1")
        assert (code, "the output of a stage is damaged" in err) == (1, True)
