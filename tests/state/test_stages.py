"""Stages: done once, resumed after a kill, done again when their inputs change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from al_loop.state.database.store import Store
from al_loop.state.stages import Stage, Waiting, finished, run_stage


class Killed(BaseException):
    """The end of the process: al-loop may not catch it."""


@pytest.fixture
def store() -> Store:
    return Store(":memory:")


def stage(folder: Path, **inputs: Any) -> Stage:
    return Stage("cycle-1", "score", folder / "score", inputs)


def state(store: Store) -> str:
    row = store.row("SELECT state FROM stages WHERE job = 'cycle-1' AND name = 'score'")
    return str(row["state"]) if row else "none"


def test_done_once(store: Store, tmp_path: Path) -> None:
    runs = []

    def work(folder: Path) -> dict[str, Any]:
        runs.append(folder)
        (folder / "result.txt").write_text("42")
        return {"answer": 42}

    assert run_stage(store, stage(tmp_path, a=1), work) == {"answer": 42}
    assert run_stage(store, stage(tmp_path, a=1), work) == {"answer": 42}
    assert len(runs) == 1
    assert (tmp_path / "score" / "result.txt").read_text() == "42"
    assert not (tmp_path / "score.partial").exists()
    assert state(store) == "done"


def test_changed_inputs_do_the_work_again_in_a_clean_folder(store: Store, tmp_path: Path) -> None:
    def work(folder: Path) -> dict[str, Any]:
        assert not (folder / "old.txt").exists()
        (folder / "old.txt").touch()
        return {"files": len(list(folder.glob("*.txt")))}

    run_stage(store, stage(tmp_path, a=1), work)
    assert finished(store, stage(tmp_path, a=2)) is None
    assert run_stage(store, stage(tmp_path, a=2), work) == {"files": 1}


def test_killed_work_goes_on_where_it_was(store: Store, tmp_path: Path) -> None:
    def work(folder: Path) -> dict[str, Any]:
        first = folder / "shard-0"
        if not first.exists():
            first.touch()
            raise Killed
        return {"resumed": True}

    with pytest.raises(Killed):
        run_stage(store, stage(tmp_path), work)
    assert state(store) == "running"
    assert not (tmp_path / "score").exists()
    assert run_stage(store, stage(tmp_path), work) == {"resumed": True}


def test_what_was_left_by_other_inputs_is_not_resumed(store: Store, tmp_path: Path) -> None:
    def killed(folder: Path) -> dict[str, Any]:
        (folder / "stale").touch()
        raise Killed

    with pytest.raises(Killed):
        run_stage(store, stage(tmp_path, a=1), killed)
    assert run_stage(store, stage(tmp_path, a=2), lambda f: {"stale": (f / "stale").exists()}) == {
        "stale": False
    }


def test_killed_between_rename_and_row(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("al_loop.state.stages._finish", killed)
        with pytest.raises(Killed):
            run_stage(store, stage(tmp_path), lambda _: {"n": 1})
    assert state(store) == "running"

    def again(_: Path) -> dict[str, Any]:
        raise AssertionError("the work was whole already")

    assert run_stage(store, stage(tmp_path), again) == {"n": 1}
    assert state(store) == "done"


def test_waiting_is_a_state_and_errors_are_recorded(store: Store, tmp_path: Path) -> None:
    def wait(_: Path) -> dict[str, Any]:
        raise Waiting("17 of 25 labelled")

    def fail(_: Path) -> dict[str, Any]:
        raise ValueError("broken")

    with pytest.raises(Waiting, match="17 of 25"):
        run_stage(store, stage(tmp_path), wait)
    assert state(store) == "waiting"
    with pytest.raises(ValueError, match="broken"):
        run_stage(store, stage(tmp_path), fail)
    assert state(store) == "failed"
    assert run_stage(store, stage(tmp_path), lambda _: {}) == {}


def test_a_done_row_without_its_folder_is_not_done(store: Store, tmp_path: Path) -> None:
    run_stage(store, stage(tmp_path), lambda _: {"n": 1})
    (tmp_path / "score").rename(tmp_path / "gone")
    assert run_stage(store, stage(tmp_path), lambda _: {"n": 2}) == {"n": 2}


def test_killed_between_seal_and_rename(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("al_loop.state.stages.os.replace", killed)
        patch.setattr(
            "al_loop.state.stages.write_json", lambda path, value: path.write_text(json.dumps(value))
        )
        with pytest.raises(Killed):
            run_stage(store, stage(tmp_path), lambda _: {"n": 1})
    assert not (tmp_path / "score").exists()

    def again(_: Path) -> dict[str, Any]:
        raise AssertionError("the work was whole already")

    assert run_stage(store, stage(tmp_path), again) == {"n": 1}
