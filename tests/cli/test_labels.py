"""al-loop labels, as a user types it."""

from __future__ import annotations

import re
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from support.small_loop import small_loop

from al_loop.cli import cli
from al_loop.core.errors import LabelStudioError
from al_loop.evaluation.label_doubts import Doubt, Kind
from al_loop.labelling.verification.page import Page, Store
from al_loop.labelling.verification.questions import Answer
from al_loop.loop import label_check
from al_loop.loop.label_check import LabelCheck
from al_loop.state.database.verdict_table import all_verdicts
from al_loop.state.workspace import Workspace
from al_loop.structures.images import ImageFile

DOUBT = "no box at the top left (5, 6): the model sees nut (90 %)"


def doubt(image: str, loss: float) -> Doubt:
    return Doubt(
        ImageFile(image, Path("a.png"), 96, 64), Kind.MISSING, loss, np.array([1, 2, 9, 9]), None, 1, 0.9
    )


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    doubts = [(2, doubt("a" * 64, 2.0)), (0, doubt("b" * 64, 1.5)), (2, doubt("a" * 64, 1.0))]
    sources = {"a" * 64: "one.png", "b" * 64: "t\x1bo.png"}
    check = LabelCheck(doubts, ["a"] * 12, sources, ["cycle 1: 5 labels are not checked: no scores"])
    monkeypatch.setattr(label_check, "check_labels", lambda *_: check)


def test_doubts_are_listed_with_the_addresses_of_their_tasks(
    run: Any, filled: Workspace, found: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = {"a" * 64: "http://127.0.0.1:1/data?task=7"}
    monkeypatch.setattr(label_check, "task_addresses", lambda *_: pages)
    code, out, _ = run("-w", filled.root, "labels", "check", "--limit", 2)
    assert code == 0
    assert out.splitlines() == [
        f"  1  aaaaaaaaaaaa  one.png  cycle 2: {DOUBT}",
        "     http://127.0.0.1:1/data?task=7",
        f"  2  bbbbbbbbbbbb  t\\x1bo.png  validation set: {DOUBT}",
        "2 of 3 doubts, on 2 of 12 images",
        "note: cycle 1: 5 labels are not checked: no scores",
    ]


def test_without_a_server_there_are_no_addresses(
    run: Any, filled: Workspace, found: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> dict[str, str]:
        raise LabelStudioError("the Label Studio server does not run")

    monkeypatch.setattr(label_check, "task_addresses", stopped)
    code, out, _ = run("-w", filled.root, "labels", "check", "--limit", 0)
    assert code == 0
    assert out.count("top left") == 3
    assert "data?task" not in out
    assert "note: without the addresses of the tasks: the Label Studio server does not run" in out


def test_nothing_to_check(run: Any, filled: Workspace) -> None:
    code, out, _ = run("-w", filled.root, "labels", "check")
    assert (code, out) == (0, "0 of 0 doubts, on 0 of 0 images\n")
    code, _, err = run("-w", filled.root, "labels", "check", "--cycle", 3)
    assert code == 1
    assert "there is no cycle 3. See: al-loop status" in err


def test_verify_says_where_the_page_is_and_what_was_answered(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = small_loop(workspace, tmp_path, monkeypatch, images=10)

    serve = Page.run

    def run(self: Page, store: Store) -> None:
        for number, verdict in enumerate(("right", "wrong", "right")):
            answer = msgspec.convert({"verdict": verdict, "seconds": 1}, Answer)
            self._todo.put((number, answer, Future()))
        self._todo.put(None)
        serve(self, store)
        raise KeyboardInterrupt

    monkeypatch.setattr(Page, "run", run)
    command = ["-w", str(loop.workspace.root), "labels", "verify"]
    result = CliRunner().invoke(cli, [*command, "--count", "5", "--class", "bolt"])
    assert result.exit_code == 0
    assert re.search(r"5 boxes to verify: http://127\.0\.0\.1:\d+/\S+/\n", result.output)
    assert result.output.endswith("3 of 5 answered: 2 right, 1 wrong\n")
    assert len(all_verdicts(loop.workspace.store)) == 3
    wrong = CliRunner().invoke(cli, [*command, "--class", "screw"])
    assert "'screw' is no class of this workspace: expected bolt, nut" in str(wrong.exception or wrong.output)
