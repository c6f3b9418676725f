"""A process that answers JSON lines: answers, silence, how it ended, what it may not inherit."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path

import pytest

from render.core.errors import DatasetError, WorkerError
from render.core.json_process import JsonProcess, command

KILLED = " (killed from outside, or the machine ran out of memory)"


def started(folder: Path, code: str) -> closing[JsonProcess]:
    """A process of Python code that may use `json`, `os`, `sys` and `time`."""
    program = [sys.executable, "-c", f"import json, os, sys, time\n{code}"]
    return closing(JsonProcess(program, folder / "log", {"COLOUR": "red"}))


def test_each_message_has_an_answer_until_the_process_ends(tmp_path: Path) -> None:
    code = """
for line in sys.stdin:
    print(json.dumps({"twice": 2 * json.loads(line)["number"], "colour": os.environ["COLOUR"]}), flush=True)
    if "-" in line: sys.exit("no negative numbers")
"""
    with started(tmp_path, code) as process:
        assert process.exchange({"number": 3}, 20) == {"twice": 6, "colour": "red"}
        assert process.alive
        assert process.exchange({"number": -1}, 20) == {"twice": -2, "colour": "red"}
        assert process.exchange({"number": 5}, 20) is None
        assert process.end(20) == (1, "ended with exit status 1")
        assert process.last_words == "no negative numbers"


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        pytest.param("time.sleep(60)", -9, "no answer within 0.3 s", marks=pytest.mark.integration),
        ("os.kill(os.getpid(), 11)", -11, "ended by signal 11"),
        ("os.kill(os.getpid(), 9)", -9, f"ended by signal 9{KILLED}"),
    ],
)  # fmt: skip
def test_why_there_was_no_answer(tmp_path: Path, code: str, status: int, reason: str) -> None:
    with started(tmp_path, code) as process:
        assert process.exchange({}, 0.3 if "sleep" in code else 20) is None
        assert process.end(0.3) == (status, reason)
        assert not process.alive
        assert process.last_words == "it said nothing"


def test_a_program_or_a_log_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"cannot run /no/python .*: --python PATH"):
        JsonProcess(command("/no/python", "render.worker.main"), tmp_path / "log", {})
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatasetError, match=r"folder: cannot be written"):
        JsonProcess([sys.executable], tmp_path / "folder", {})


def test_it_inherits_no_open_file(tmp_path: Path) -> None:
    """A pipe of the parent ends when the parent closes it, though the process is alive."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    with started(tmp_path, "sys.stdin.read()") as process:
        os.close(writer)
        os.set_blocking(reader, False)
        assert os.read(reader, 1) == b""
        assert process.alive
    os.close(reader)
