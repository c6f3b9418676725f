"""The doctor as a whole."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.doctor_workspace import files, write
from support.read_only import al_loop, close_to_writing, needs_modes, open_to_writing

from al_loop.core.console import Silent
from al_loop.doctor import Finding, examine
from al_loop.state.workspace import open_workspace


@pytest.mark.integration
def test_a_whole_workspace_is_healthy_and_stays_as_it_is(well: Path, run: Any) -> None:
    before = files(well)
    status, out, err = run("-w", well, "doctor")
    assert (status, err) == (0, "")
    assert out == f"{well}: nothing is wrong\n"
    for options in (("--quick",), ("--deep",)):
        assert run("-w", well, "doctor", *options)[0] == 0
    status, out, _ = run("-w", well, "doctor", "--json")
    assert json.loads(out) == {"root": str(well), "findings": [], "more": {}, "notes": [], "wrong": 0}
    assert files(well) == before


def test_of_many_alike_a_few_are_named(well: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("al_loop.doctor.examination.KEPT", 3)
    for path in (well / "images").rglob("*.png"):
        path.unlink()
    diagnosis = examine(well, Silent())
    assert sum(f.check == "images.missing" for f in diagnosis.findings) == 3
    assert diagnosis.more["images.missing"] == 11
    status, out, _ = run("-w", well, "doctor", "--quick")
    assert status == 1
    assert "... and 11 more of images.missing" in out
    assert out.endswith("14 things are wrong\n")


@pytest.mark.integration
@needs_modes
def test_a_read_only_workspace_is_examined(well: Path) -> None:
    close_to_writing(well)
    try:
        _, out, err = al_loop(well, "doctor", "--json")
        # The system's temporary folder holds what other runs have left.
        assert [f for f in json.loads(out)["findings"] if f["check"] != "leftovers"] == []
        assert err == ""
        assert not (well / "al-loop.db-shm").exists()
    finally:
        open_to_writing(well)


def test_a_command_at_work_is_left_alone(well: Path) -> None:
    write(well / "images" / "ab" / f"{'ab' * 32}.png")
    workspace = open_workspace(well)
    with workspace.lock():
        diagnosis = examine(well, Silent())
    assert diagnosis.findings == ()
    assert re.match(r"`.*` works here: its unfinished work is left out", diagnosis.notes[0])


def test_a_finding_needs_a_next_step() -> None:
    with pytest.raises(ValueError, match="expected check, subject, problem and mend"):
        Finding("a", "b", "c", "")
