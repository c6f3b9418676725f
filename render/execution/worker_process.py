"""A render worker: a process on this machine that holds Blender."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import msgspec

from render.core.errors import BlenderMissingError, DatasetError, WorkerError
from render.core.interpreter import command, last_line
from render.core.tempdirs import Scratch
from render.execution.jobs import Job, run_job

#: Seconds for a worker to import bpy on a cold disk.
START_TIMEOUT_S = 180.0
#: A worker is replaced after this many scenes, so that a memory leak in Blender stays small,
RENEW_AFTER = 300
#: or when it holds this much memory, MiB; a plain scene takes 325.
RENEW_ABOVE_MB = 6000.0
_KILLED = " (killed from outside, or the machine ran out of memory)"


class WorkerProcess:
    """A process that renders into a dataset; a `render.execution.scheduler.Worker`."""

    def __init__(
        self,
        command: list[str],
        out: Path,
        threads: int,
        timeout_s: float,
        cores: frozenset[int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the process.

        command: a program that speaks the protocol of `render.worker.main`.
        threads: Cycles' threads.
        timeout_s: seconds that one image may take.
        cores: cores that the process may use; None: all.
        environment: variables on top of those of this process.
        Raises WorkerError if there is no such program, DatasetError if `out` cannot be written.
        """
        self._command, self._out, self._threads, self._timeout_s = command, out, threads, timeout_s
        self._scenes, self._memory_mb = 0, 0.0
        self._log_path = out / "render.log"
        self._log = _open_log(self._log_path)
        # A killed Blender leaves its temporary files behind.
        self._scratch = Scratch()
        # In a new session Ctrl-C reaches only the parent, which then ends the worker.
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                start_new_session=True,
                env={**os.environ, "TMPDIR": str(self._scratch.folder), **(environment or {})},
            )
        except OSError as error:
            self._log.close()
            self._scratch.close()
            raise WorkerError(
                f"cannot run {command[0]} ({error}); name another Python: --python PATH"
            ) from error
        # Before the first line is sent: the process has not yet imported what counts cores or starts threads.
        if cores is not None and hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(self._process.pid, cores)
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()

    def prepare(self) -> None:
        """Wait until Blender is imported; raises BlenderMissingError or WorkerError."""
        message = {"out": str(self._out.resolve()), "threads": self._threads}
        answer = self._exchange(message, START_TIMEOUT_S)
        if answer is None:
            reason, line = self._reason_of_silence(START_TIMEOUT_S), last_line(self._log_path)
            if line.startswith("ModuleNotFoundError"):
                raise BlenderMissingError.of(self._command[0], line)
            raise WorkerError(f"the render worker did not start: {reason}; see {self._log_path}")
        if "missing" in answer:
            raise BlenderMissingError.of(self._command[0], answer["missing"])

    def run(self, job: Job) -> None:
        """Render the missing images of a job; raises TaskFailedError if that failed."""
        run_job(job, self._out, self.ask)

    def ask(self, job: Job) -> str | None:
        """Render the images and commit them; return None, or why that failed (the process may have ended).

        Raises DatasetError when the disk is the cause, not the scene.
        """
        # The worker answers once for all images of the scene, so they share their time.
        timeout_s = self._timeout_s * len(job.images)
        message = {"spec": msgspec.to_builtins(job.spec), "views": list(job.images)}
        answer = self._exchange(message, timeout_s)
        self._scenes += 1
        if answer is None:
            return self._reason_of_silence(timeout_s)
        if "unwritable" in answer:
            raise DatasetError(answer["unwritable"])
        self._memory_mb = float(answer.get("rss_mb", 0.0))
        return str(answer["reason"]) if "failed" in answer else None

    @property
    def fit(self) -> bool:
        """Whether the process is alive and below the limits of scenes and memory."""
        young = self._scenes < RENEW_AFTER and self._memory_mb < RENEW_ABOVE_MB
        return young and self._process.poll() is None

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
        self._scratch.close()

    def _exchange(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any] | None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
            return self._answers.get(timeout=timeout_s)
        except (OSError, ValueError, queue.Empty):  # ValueError: closed by another thread meanwhile
            return None

    def _reason_of_silence(self, timeout_s: float) -> str:
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return f"no answer within {timeout_s:g} s"
        if code >= 0:
            return f"ended with exit status {code}"
        return f"ended by signal {-code}" + (_KILLED if -code == signal.SIGKILL else "")

    def _listen(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in stream:
                self._answers.put(json.loads(line))
        self._answers.put(None)


def worker_command(python: str | None) -> list[str]:
    """Return the command of a worker under that Python; None: the running one."""
    return command(python, "render.worker.main")


def available_cores() -> tuple[int, ...]:
    """Return the cores that this process may use, in order."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def split_cores(cores: tuple[int, ...], workers: int) -> list[frozenset[int]]:
    """Return each worker's part of the cores, as equal as possible; with too few cores, workers share one.

    Workers that share all cores are slower together than one alone: each spins while the others compute.
    """
    if workers >= len(cores):
        return [frozenset({cores[index % len(cores)]}) for index in range(workers)]
    bounds = [len(cores) * index // workers for index in range(workers + 1)]
    return [frozenset(cores[a:b]) for a, b in pairwise(bounds)]


def _open_log(path: Path) -> IO[bytes]:
    try:
        return path.open("ab")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error}); choose another folder") from error
