"""Render workers on the nodes of a Ray cluster.

The nodes share nothing but al-loop itself, installed on each. Meshes, textures and panoramas of a scene are
sent to a worker the first time it needs them; images, records and the log come back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from render.annotation.record_store import FORMAT
from render.core.errors import RenderError, WorkerError
from render.core.files import write_atomically
from render.core.tempdirs import Scratch
from render.execution.actor_pool import Actor, Placement
from render.execution.jobs import Job, run_job
from render.execution.scheduler import TaskFailedError
from render.execution.transfer import packed, unpacked
from render.execution.worker_process import WorkerProcess, available_cores, split_cores, worker_command

#: Seconds for an answer to travel, on top of the time that a scene may take.
_TRAVEL_S = 60.0
_CLOSE_S = 5.0

#: Why rendering failed, if it did; the new files, images before records; what is new in the log; whether the
#: worker accepts another scene.
Answer = tuple[str | None, list[tuple[str, bytes]], bytes, bool]


class RayWorker:
    """A worker on a node of the cluster, seen from the driver; a `render.execution.scheduler.Worker`."""

    def __init__(
        self, ray: Any, placement: Placement, out: Path, python: str | None, timeout_s: float
    ) -> None:
        """Ask the cluster for it.

        python: interpreter with bpy on the node; None: the one that runs al-loop.
        timeout_s: seconds that one image may take.
        """
        self._out, self._timeout_s, self.fit = out, timeout_s, True
        self._node = f"on node {placement.name} of the Ray cluster"
        self._sent: set[str] = set()
        # Two calls at a time: `close` must reach an actor whose worker is busy.
        self._actor = Actor(ray, RenderActor, placement, python, placement, timeout_s, max_concurrency=2)

    def prepare(self) -> None:
        """Wait until Blender is imported on the node; raises WorkerError."""
        try:
            version = self._actor.prepare()
        except WorkerError as error:
            raise self._located(error) from error
        if version != FORMAT:
            raise WorkerError(
                f"{self._node}: expected the same al-loop on every node, got dataset format {version}, "
                f"here {FORMAT}; install the same version"
            )

    def run(self, job: Job) -> None:
        """Render the missing images of a job; raises TaskFailedError if that failed."""
        run_job(job, self._out, self._ask)

    def _ask(self, job: Job) -> str | None:
        """Render the images on the node and write them here; return None, or why that failed."""
        spec, files = packed(job.spec, self._sent)
        timeout_s = self._timeout_s * len(job.images) + _TRAVEL_S
        try:
            answer: Answer = self._actor.call("ask", spec, job.images, files, timeout_s=timeout_s)
        except RenderError as error:
            raise self._located(error) from error
        except TaskFailedError as error:
            self.fit = False
            return f"its node or process was lost ({error})"
        reason, written, log, self.fit = answer
        self._sent |= files.keys()
        for name, data in written:
            write_atomically(self._out / name, data)
        if log:
            with contextlib.suppress(OSError), (self._out / "render.log").open("ab") as file:
                file.write(log)
        return reason

    def close(self) -> None:
        """End the actor and its worker."""
        with contextlib.suppress(TaskFailedError, WorkerError):
            self._actor.call("close", timeout_s=_CLOSE_S)
        self._actor.kill()

    def _located(self, error: RenderError) -> RenderError:
        return type(error)(f"{self._node}: {error}")


class RenderActor:
    """Runs on a node: a worker process, and a folder for what it renders until that is fetched."""

    def __init__(self, python: str | None, placement: Placement, timeout_s: float) -> None:
        self._scratch = Scratch()
        self._folder = self._scratch.folder
        self._log_read = 0
        for name in ("images", "records", "files"):
            (self._folder / name).mkdir()
        index, count = placement.share
        cores = split_cores(available_cores(), count)[index] if count > 1 else None
        meshes = {"AL_LOOP_MESH_CACHE": str(self._folder / "files")}
        self._start = partial(
            WorkerProcess, worker_command(python), self._folder, placement.cores, timeout_s, cores, meshes
        )
        self._worker: WorkerProcess | None = None

    def prepare(self) -> int:
        """Start the worker and wait for Blender; return the format of datasets that it writes."""
        self._worker = self._start()
        self._worker.prepare()
        return FORMAT

    def ask(self, spec: bytes, images: tuple[int, ...], files: Mapping[str, bytes]) -> Answer:
        """Render images of a scene; raises DatasetError if the node's disk is full.

        spec, files: results of `transfer.packed`.
        """
        assert self._worker is not None  # prepare came first
        for name, data in files.items():
            (self._folder / "files" / name).write_bytes(data)
        reason = self._worker.ask(Job(unpacked(spec, self._folder / "files"), images))
        paths = [
            path
            for folder in ("images", "records")
            for image in images
            for path in sorted((self._folder / folder).glob(f"{image:06d}.*"))
            if path.suffix != ".partial"
        ]
        written = [(path.relative_to(self._folder).as_posix(), path.read_bytes()) for path in paths]
        for path in paths:
            path.unlink()
        new_log = b""
        with contextlib.suppress(OSError), (self._folder / "render.log").open("rb") as log:
            log.seek(self._log_read)
            new_log = log.read()
        self._log_read += len(new_log)
        return reason, written, new_log, self._worker.fit

    def close(self) -> None:
        """End the worker and delete its folder."""
        if self._worker is not None:
            self._worker.close()
        self._scratch.close()
