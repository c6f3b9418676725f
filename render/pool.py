"""The worker process seen from outside: start, ask, time out, restart, give up on a scene."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import msgspec

from render.errors import BlenderMissingError, DatasetError, WorkerCrashedError, WorkerError
from render.spec import SceneSpec
from render.writers import Record, commit

#: Seconds for a worker to import bpy on a cold disk.
START_TIMEOUT_S = 180.0
#: A scene is given up after this many crashes or timeouts.
ATTEMPTS = 2
#: This many scenes given up one after another: it is not the scenes.
GIVE_UP_AFTER = 3
_MISSING = (
    "expected a Python with Blender's module bpy 4.5, got {python}: {reason}; "
    "bpy has wheels for Python 3.11 only: `python3.11 -m pip install 'bpy>=4.5,<4.6'`, "
    "or name a Python that has it: python -m render ... --python PATH"
)


class Worker:
    """One worker process. `command` runs a program that speaks the protocol of `render.worker.main`."""

    def __init__(self, command: list[str], out: Path, threads: int) -> None:
        """Start it and wait until it is ready; raises BlenderMissingError or WorkerError."""
        self._command = command
        self._log = (out / "render.log").open("ab")
        self._log_path = out / "render.log"
        # A session of its own: Ctrl-C reaches the parent only, which then ends the worker in order.
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                start_new_session=True,
            )
        except OSError as error:
            self._log.close()
            raise WorkerError(
                f"cannot run {command[0]} ({error}); name another: python -m render ... --python PATH"
            ) from error
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()
        try:
            self._start({"out": str(out.resolve()), "threads": threads})
        except BaseException:
            self.close()
            raise

    def ask(self, spec: SceneSpec, timeout_s: float) -> str | None:
        """Have one scene rendered and committed; None when done, else why not (the worker may be dead).

        Raises DatasetError when the disk is at fault, not the scene.
        """
        answer = self._exchange({"spec": msgspec.to_builtins(spec)}, timeout_s)
        if answer is None:
            return self._why_silent(timeout_s)
        if "unwritable" in answer:
            raise DatasetError(answer["unwritable"])
        return str(answer["reason"]) if "failed" in answer else None

    @property
    def alive(self) -> bool:
        """Whether it can take another scene."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process and wait for it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._log.close()

    def _start(self, setup: dict[str, Any]) -> None:
        answer = self._exchange(setup, START_TIMEOUT_S)
        if answer is None:
            reason = self._why_silent(START_TIMEOUT_S)
            raise WorkerError(f"the render worker did not start: {reason}; see {self._log_path}")
        if "missing" in answer:
            raise BlenderMissingError(_MISSING.format(python=self._command[0], reason=answer["missing"]))

    def _exchange(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any] | None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
            return self._answers.get(timeout=timeout_s)
        except (BrokenPipeError, queue.Empty):
            return None

    def _why_silent(self, timeout_s: float) -> str:
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return f"no answer within {timeout_s:g} s"
        return f"ended by signal {-code}" if code < 0 else f"ended with exit status {code}"

    def _listen(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in stream:
                self._answers.put(json.loads(line))
        self._answers.put(None)


class _Post:
    """The place of one worker: manned when needed, again after a crash."""

    def __init__(self, start: Callable[[], Worker], timeout_s: float) -> None:
        self._start, self._timeout_s = start, timeout_s
        self._worker: Worker | None = None

    def render(self, spec: SceneSpec) -> str | None:
        """None when the scene is committed, else why the last of ATTEMPTS failed."""
        reason = None
        for _ in range(ATTEMPTS):
            if self._worker is not None and not self._worker.alive:
                self.close()
            if self._worker is None:
                self._worker = self._start()
            reason = self._worker.ask(spec, self._timeout_s)
            if reason is None:
                break
        return reason

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._worker = None


def render_all(
    specs: Iterable[SceneSpec],
    start: Callable[[], Worker],
    out: Path,
    *,
    timeout_s: float,
    on_done: Callable[[int], None],
) -> None:
    """Render every scene, restarting the worker as needed.

    A scene that fails ATTEMPTS times is recorded as failed, with its seed, and skipped. When GIVE_UP_AFTER in
    a row fail, or all there are, it is not the scenes: WorkerCrashedError, and nothing is held against them.
    """
    post = _Post(start, timeout_s)
    streak: list[Record] = []
    succeeded = False
    try:
        for spec in specs:
            reason = post.render(spec)
            if reason is None:
                _record(out, streak)
                streak, succeeded = [], True
            else:
                streak.append(Record(spec.index, spec.seed, "failed", spec.width, spec.height, reason=reason))
            if len(streak) >= GIVE_UP_AFTER:
                raise _hopeless(streak, out)
            on_done(spec.index)
        if streak and not succeeded:
            raise _hopeless(streak, out)
        _record(out, streak)
    finally:
        post.close()


def _record(out: Path, failed: list[Record]) -> None:
    for record in failed:
        commit(out, record, None)


def _hopeless(streak: list[Record], out: Path) -> WorkerCrashedError:
    last = streak[-1]
    return WorkerCrashedError(
        f"{len(streak)} scenes in a row failed, the last (index {last.index}): {last.reason.strip()}; "
        f"see {out / 'render.log'}, then run the same command again"
    )


def worker_command(python: str | None) -> list[str]:
    """How to run the worker under a Python; ours when None.

    Another Python may lack this package, and we may run from anywhere: the folder that holds it comes last
    on the path, so that everything else is found in that Python's own environment first.
    """
    root = str(Path(__file__).resolve().parents[1])
    # Not the folder it happens to be started in: a random.py there would shadow the real one.
    code = f"import sys; sys.path = [*filter(None, sys.path), {root!r}]; from render.worker.main import main; main()"
    return [python or sys.executable, "-c", code]


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
