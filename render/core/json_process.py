"""A part of this package in a process of its own, perhaps under another Python, that answers JSON lines."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from render.core.errors import DatasetError, WorkerError

_KILLED = " (killed from outside, or the machine ran out of memory)"


def command(python: str | None, module: str) -> list[str]:
    """Return the command that runs `main` of a module of ours.

    python: interpreter; None: the running one. It may lack this package, and may be started anywhere: the
        folder of the package comes last on its path, so that its own environment is searched first.
    """
    root = str(Path(__file__).resolve().parents[2])
    # Not the folder it happens to be started in: a random.py there would shadow the real one.
    code = f"import sys; sys.path = [*filter(None, sys.path), {root!r}]; from {module} import main; main()"
    return [python or sys.executable, "-c", code]


class JsonProcess:
    """A process that answers each line of JSON with one."""

    def __init__(
        self,
        command: list[str],
        log: Path,
        environment: Mapping[str, str],
        cores: frozenset[int] | None = None,
    ) -> None:
        """Start it.

        log: file to which its standard error is appended.
        environment: variables on top of those of this process.
        cores: cores that it may use; None: all.
        Raises WorkerError if there is no such program, DatasetError if the log cannot be written.
        """
        self.command, self._log = command, log
        try:
            errors = log.open("ab")
        except OSError as error:
            raise DatasetError(f"{log}: cannot be written ({error}); choose another folder") from error
        # In a new session Ctrl-C reaches only the parent, which then ends the process.
        try:
            with errors:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,
                    env={**os.environ, **environment},
                )
        except OSError as error:
            raise WorkerError(
                f"cannot run {command[0]} ({error}); name another Python: --python PATH"
            ) from error
        # Before the first line is sent: the process has not yet imported what counts cores or starts threads.
        if cores is not None and hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(self._process.pid, cores)
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def last_words(self) -> str:
        """The last line of its log; of an exception, its type and message."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def exchange(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any] | None:
        """Send a message and return the answer; None if none came in time."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
            return self._answers.get(timeout=timeout_s)
        except (OSError, ValueError, queue.Empty):  # ValueError: closed by another thread meanwhile
            return None

    def end(self, timeout_s: float) -> tuple[int, str]:
        """End a process that did not answer; return its exit status, below 0 for a signal, and the reason.

        timeout_s: how long an answer was awaited.
        """
        try:
            status = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(), f"no answer within {timeout_s:g} s"
        if status >= 0:
            return status, f"ended with exit status {status}"
        return status, f"ended by signal {-status}" + (_KILLED if -status == signal.SIGKILL else "")

    def close(self) -> None:
        """End the process and wait for it."""
        if self.alive:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _listen(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in stream:
                self._answers.put(json.loads(line))
        self._answers.put(None)
