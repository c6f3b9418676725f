"""A render worker: a process on this machine that holds Blender."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from render.core.errors import BlenderMissingError, DatasetError, WorkerError
from render.core.json_process import JsonProcess, command
from render.core.tempdirs import Scratch
from render.execution.jobs import Job, run_job

#: Seconds for a worker to import bpy on a cold disk.
START_TIMEOUT_S = 180.0
#: A worker is replaced after this many scenes, so that a memory leak in Blender stays small,
RENEW_AFTER = 300
#: or when it holds this much memory, MiB; a plain scene takes 325.
RENEW_ABOVE_MB = 6000.0


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
        """Start the process; raises as `JsonProcess` does.

        command: a program that speaks the protocol of `render.worker.main`.
        threads: Cycles' threads.
        timeout_s: seconds that one image may take.
        """
        self._out, self._threads, self._timeout_s = out, threads, timeout_s
        self._scenes, self._memory_mb = 0, 0.0
        # A killed Blender leaves its temporary files behind.
        self._scratch = Scratch()
        variables = {"TMPDIR": str(self._scratch.folder), **(environment or {})}
        try:
            self._process = JsonProcess(command, out / "render.log", variables, cores)
        except BaseException:
            self._scratch.close()
            raise

    def prepare(self) -> None:
        """Wait until Blender is imported; raises BlenderMissingError or WorkerError."""
        process = self._process
        message = {"out": str(self._out.resolve()), "threads": self._threads}
        answer = process.exchange(message, START_TIMEOUT_S)
        if answer is None:
            _, reason = process.end(START_TIMEOUT_S)
            if process.last_words.startswith("ModuleNotFoundError"):
                answer = {"missing": process.last_words}
            else:
                raise WorkerError(
                    f"the render worker did not start: {reason}; see {self._out / 'render.log'}"
                )
        if "missing" in answer:
            raise BlenderMissingError.of(process.command[0], answer["missing"])

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
        answer = self._process.exchange(message, timeout_s)
        self._scenes += 1
        if answer is None:
            return self._process.end(timeout_s)[1]
        if "unwritable" in answer:
            raise DatasetError(answer["unwritable"])
        self._memory_mb = float(answer.get("rss_mb", 0.0))
        return str(answer["reason"]) if "failed" in answer else None

    @property
    def fit(self) -> bool:
        """Whether the process is alive and below the limits of scenes and memory."""
        young = self._scenes < RENEW_AFTER and self._memory_mb < RENEW_ABOVE_MB
        return young and self._process.alive

    def close(self) -> None:
        """End the process and wait for it."""
        self._process.close()
        self._scratch.close()


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
    parts = np.array_split(cores, min(workers, len(cores)))
    return [frozenset(parts[index % len(parts)].tolist()) for index in range(workers)]
