"""The same scenes on a Ray cluster: on every node a worker process, whose files come back over the network.

The machines share nothing but al-loop itself, installed on each: meshes, textures and panoramas that a scene names
travel to a worker the first time it needs them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from render.annotation.record_store import FORMAT
from render.core import errors
from render.core.errors import DatasetError, RenderError, WorkerError
from render.core.files import write_atomically
from render.core.tempdirs import Scratch
from render.execution.ray_connection import connected, node_name
from render.execution.scheduler import Job
from render.execution.transfer import packed, unpacked
from render.execution.worker_process import (
    START_TIMEOUT_S,
    Worker,
    available_cores,
    shared_out,
    worker_command,
)

#: Seconds a worker waits for free cores of the cluster, which others may be using.
QUEUE_TIMEOUT_S = 900.0
#: Seconds for an answer to travel, on top of the time a scene may take.
_TRAVEL_S = 60.0


@dataclass(frozen=True)
class Seat:
    """A place for one worker. share: which of the node's seats it is, and of how many."""

    node: str
    threads: int
    share: tuple[int, int]


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster we are connected to, and where our workers sit."""

    ray: Any
    places: tuple[Seat, ...]
    names: Mapping[str, str]
    out: Path
    python: str | None

    @property
    def seats(self) -> int:
        """How many workers there are."""
        return len(self.places)

    def start(self, seat: int) -> RemoteWorker:
        """A worker for that seat."""
        place = self.places[seat]
        return RemoteWorker(self.ray, place, self.out, self.python, self.names[place.node])


@contextlib.contextmanager
def joined(
    address: str, out: Path, python: str | None, threads: int | None, workers: int | None
) -> Iterator[Cluster]:
    """Connect to a cluster: "auto", "host:port", "ray://host:port", or "local" for one on this machine.

    Every node gets a worker with all its cores, or as many as fit with `threads` each; `workers` limits them.
    Raises WorkerError when Ray is not installed, no cluster answers, or it has no cores.
    """
    with connected(address) as ray:
        alive = [node for node in ray.nodes() if node["Alive"]]
        nodes = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in alive}
        places = seated(nodes, threads, workers)
        if not places:
            raise WorkerError(
                f"the Ray cluster {address} has no node with {threads or 1} cores free for us "
                f"(nodes have {', '.join(map(str, nodes.values())) or 'none'}); lower --threads, or add nodes"
            )
        yield Cluster(ray, places, {node["NodeID"]: node_name(node) for node in alive}, out, python)


def seated(nodes: Mapping[str, int], threads: int | None, workers: int | None) -> tuple[Seat, ...]:
    """Places for workers on nodes with so many cores, one after another around the nodes."""
    total = sum(nodes.values())
    each = threads or (None if workers is None else max(1, total // workers))
    held = {node: cores // each if each else min(cores, 1) for node, cores in nodes.items()}
    found = [
        Seat(node, each or nodes[node], (number, held[node]))
        for number in range(max(held.values(), default=0))
        for node in sorted(nodes)
        if number < held[node]
    ]
    return tuple(found[:workers])


class RemoteWorker:
    """A worker on another machine, seen from here; a `render.execution.scheduler.Hand`."""

    def __init__(self, ray: Any, seat: Seat, out: Path, python: str | None, name: str) -> None:
        """Ask the cluster for it; name: what people call its node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray, self._out, self._name, self._fit = ray, out, name, True
        self._sent: set[str] = set()
        # Two calls at a time: `close` must reach a desk whose worker is busy.
        actor = ray.remote(Desk).options(
            num_cpus=seat.threads,
            max_concurrency=2,
            scheduling_strategy=NodeAffinitySchedulingStrategy(seat.node, soft=True),
        )
        self._desk = actor.remote(python, seat.threads, seat.share)

    def prepare(self) -> None:
        """Wait until Blender is imported over there; raises WorkerError."""
        answer = self._call(self._desk.prepare.remote(), QUEUE_TIMEOUT_S + START_TIMEOUT_S)
        if isinstance(answer, str):
            raise WorkerError(
                f"no render worker started on node {self._name} of the Ray cluster: {answer}; expected al-loop on every "
                "node, and free cores"
            )
        _raise(answer, self._name)
        if answer["format"] != FORMAT:
            raise WorkerError(
                f"expected the same al-loop on every node, got dataset formats {FORMAT} here and "
                f"{answer['format']} on node {self._name}; install the same version"
            )

    def ask(self, job: Job, timeout_s: float) -> str | None:
        """Have the images made there, and write them here; None when done, else why not."""
        spec, files = packed(job.spec, self._sent)
        call = self._desk.ask.remote(spec, job.images, files, timeout_s)
        answer = self._call(call, timeout_s + _TRAVEL_S)
        if isinstance(answer, str):
            return answer
        self._sent |= files.keys()
        for name, data in answer["files"]:
            write_atomically(self._out / name, data)
        if answer["log"]:
            with contextlib.suppress(OSError), (self._out / "render.log").open("ab") as log:
                log.write(answer["log"])
        self._fit = self._fit and answer["fit"]
        _raise(answer, self._name)
        reason: str | None = answer["reason"]
        return reason

    @property
    def fit(self) -> bool:
        """Whether it may take another scene."""
        return self._fit

    def close(self) -> None:
        """End it, and free its cores."""
        self._call(self._desk.close.remote(), 5.0)
        self._ray.kill(self._desk)

    def _call(self, reference: Any, timeout_s: float) -> Any:
        """The answer, or in words why none came; what does not answer is not asked again."""
        try:
            return self._ray.get(reference, timeout=timeout_s)
        except self._ray.exceptions.GetTimeoutError:
            self._fit = False
            return f"no answer within {timeout_s:g} s"
        except self._ray.exceptions.RayError as error:
            self._fit = False
            return f"its node or process was lost ({str(error).strip().splitlines()[-1].strip()})"


class Desk:
    """Lives on a node of the cluster: a worker process, and a folder for what it makes until it is fetched."""

    def __init__(self, python: str | None, threads: int, share: tuple[int, int]) -> None:
        """Start the worker on its share of the node's cores."""
        self._scratch = Scratch()
        self._folder = self._scratch.folder
        self._read = 0
        for name in ("images", "records", "files"):
            (self._folder / name).mkdir()
        cores = shared_out(available_cores(), share[1])[share[0]] if share[1] > 1 else None
        meshes = {"AL_LOOP_MESH_CACHE": str(self._folder / "files")}
        self._worker: Worker | None = None
        self._failed: dict[str, str] = {}
        try:
            self._worker = Worker(worker_command(python), self._folder, threads, cores, meshes)
        except RenderError as error:
            self._failed = _as_plain(error)

    def prepare(self) -> dict[str, Any]:
        """Wait for Blender; says what is missing, if anything."""
        if self._worker is not None and not self._failed:
            try:
                self._worker.prepare()
            except RenderError as error:
                self._failed = _as_plain(error)
        return {"format": FORMAT, **self._failed}

    def ask(
        self, spec: bytes, images: tuple[int, ...], files: Mapping[str, bytes], timeout_s: float
    ) -> dict[str, Any]:
        """Render, and return what was written: pictures first, so that a record never comes without one."""
        assert self._worker is not None  # prepare said so
        for name, data in files.items():
            (self._folder / "files" / name).write_bytes(data)
        job = Job(unpacked(spec, self._folder / "files"), tuple(images))
        failed: dict[str, str] = {}
        reason = None
        try:
            reason = self._worker.ask(job, timeout_s)
        except DatasetError as error:
            failed = _as_plain(error)
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
        return {"reason": reason, "files": written, "log": self._new_log(), "fit": self._worker.fit, **failed}

    def close(self) -> None:
        """End the worker and leave nothing behind."""
        if self._worker is not None:
            self._worker.close()
        self._scratch.close()

    def _new_log(self) -> bytes:
        with contextlib.suppress(OSError), (self._folder / "render.log").open("rb") as log:
            log.seek(self._read)
            new = log.read()
            self._read += len(new)
            return new
        return b""


def _as_plain(error: RenderError) -> dict[str, str]:
    return {"error": type(error).__name__, "text": str(error)}


def _raise(answer: Mapping[str, Any], name: str) -> None:
    """Raise here what was raised on the node of that name."""
    if "error" in answer:
        raise getattr(errors, answer["error"])(f"on node {name} of the Ray cluster: {answer['text']}")
