"""Actors on the nodes of a Ray cluster: where they are placed, how they are called, when the cluster is lost.

`ray.util.ActorPool` and the retries of Ray do not report a lost actor, do not leave out a node whose actor
cannot start, and cannot name the task that ends one actor after another: `render.execution.scheduler` does.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from render.core.errors import WorkerError
from render.execution.ray_connection import connection_error
from render.execution.scheduler import (
    CHECK_S,
    NoWorkerLeftError,
    Policy,
    Scheduler,
    TaskFailedError,
    Worker,
    WorkerSlot,
)

#: Seconds between checks whether a call was abandoned.
_POLL_S = 1.0
#: Seconds for an actor to start: other jobs may use the cores.
_START_TIMEOUT_S = 900.0
#: Seconds that the head may refuse connections. After 60 s Ray itself ends this process, without an error.
_HEAD_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Placement:
    """Resources of a node for one actor.

    node: Ray's id of it.
    name: host name and address.
    gpu: whether one of its GPUs is included.
    share: index of the placement among those of the node, and their number.
    """

    node: str
    name: str
    cores: int
    gpu: bool = False
    share: tuple[int, int] = (0, 1)


def cpu_placements(
    nodes: Sequence[Mapping[str, Any]], cores: int | None = None, workers: int | None = None
) -> list[Placement]:
    """Return placements without GPUs, distributed over the nodes in turn.

    nodes: what `ray.nodes()` returns.
    cores: of each placement; None: those of a node, or, with `workers`, an equal part of the cluster.
    workers: number of placements at most.
    """
    total = {node["NodeID"]: _resource(node, "CPU") for node in _alive(nodes)}
    each = cores or (None if workers is None else max(1, sum(total.values()) // workers))
    count = {node: number // each if each else min(number, 1) for node, number in total.items()}
    names = {node["NodeID"]: _name(node) for node in _alive(nodes)}
    placements = [
        Placement(node, names[node], each or total[node], share=(index, count[node]))
        for index in range(max(count.values(), default=0))
        for node in total
        if index < count[node]
    ]
    return placements[:workers]


def gpu_placements(nodes: Sequence[Mapping[str, Any]]) -> list[Placement]:
    """Return a placement for every GPU, each with an equal part of its node's cores."""
    placements = []
    for node in _alive(nodes):
        cores, gpus = _resource(node, "CPU"), _resource(node, "GPU")
        for index in range(gpus):
            placements.append(Placement(node["NodeID"], _name(node), cores // gpus, True, (index, gpus)))
    return placements


class Actor:
    """An actor in one placement, seen from the driver."""

    def __init__(
        self, ray: Any, actor_class: type, placement: Placement, *arguments: Any, max_concurrency: int = 1
    ) -> None:
        """Ask the cluster for it; returns at once.

        max_concurrency: calls that it runs at a time.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray, self._killed = ray, False
        self._actor = (
            ray.remote(actor_class)
            .options(
                num_cpus=placement.cores,
                num_gpus=int(placement.gpu),
                max_concurrency=max_concurrency,
                scheduling_strategy=NodeAffinitySchedulingStrategy(placement.node, soft=False),
            )
            .remote(*arguments)
        )

    def prepare(self, *arguments: Any) -> Any:
        """Return what its method `prepare` returns; raises WorkerError if that fails or does not start."""
        end = time.monotonic() + _START_TIMEOUT_S
        try:
            return self.call("prepare", *arguments, timeout_s=_START_TIMEOUT_S)
        except WorkerError:
            raise
        except TaskFailedError as error:
            if time.monotonic() < end:
                raise
            raise WorkerError(f"{error}: others use its cores or GPUs, see: ray status") from error
        except Exception as error:
            raise WorkerError(reason_of(error)) from error

    def call(self, method: str, *arguments: Any, timeout_s: float = math.inf) -> Any:
        """Return what a method returns; raises the errors of `result_of`."""
        reference = getattr(self._actor, method).remote(*arguments)
        end = time.monotonic() + timeout_s
        while not self._ray.wait([reference], timeout=max(0.0, min(_POLL_S, end - time.monotonic())))[0]:
            if self._killed:
                raise TaskFailedError("it was ended")
            if time.monotonic() >= end:
                raise TaskFailedError(f"no answer within {timeout_s:g} s")
        return result_of(self._ray, reference)

    def kill(self) -> None:
        """End it, and free its resources."""
        self._killed = True
        self._ray.kill(self._actor)


def result_of(ray: Any, reference: Any) -> Any:
    """Return the result of a call that has ended.

    Raises what the call raised, WorkerError if the actor could not start, TaskFailedError if it was lost.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if error.cause is None:
            raise
        raise error.cause from error
    except ray.exceptions.RayError as error:
        failed = WorkerError if getattr(error, "actor_init_failed", False) else TaskFailedError
        raise failed(reason_of(error)) from error


def reason_of(error: BaseException) -> str:
    """Return in one line why Ray lost a process."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    if missing := re.search(r"No module named '[\w.]+'", text):
        return f"{missing[0]}; expected the same al-loop there: python -m pip install 'al-loop[ray]'"
    if "its node has died" in text:
        return "the node is gone"
    if "temporarily unavailable" in text:
        return "it does not answer"
    return (text.splitlines() or [type(error).__name__])[-1].strip()[:300]


class ClusterWatch:
    """Checks that the cluster is still there."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._checked = self._answered = time.monotonic()
        # Ray's client does not know the head.
        self._head: str | None = getattr(ray.get_runtime_context(), "gcs_address", None)

    def check(self) -> None:
        """Raise NoWorkerLeftError if the head was lost."""
        now = time.monotonic()
        if now - self._checked < CHECK_S:
            return
        self._checked = now
        if self._head_answers():
            self._answered = now
        elif now - self._answered > _HEAD_TIMEOUT_S:
            raise NoWorkerLeftError(f"its head, {self._head}, does not answer")

    def is_alive(self, node: str) -> bool:
        """Whether a node can start an actor. Without its head no node can, and Ray would wait for it."""
        return self._head_answers() and any(each["NodeID"] == node for each in _alive(self._ray.nodes()))

    def _head_answers(self) -> bool:
        return self._head is None or connection_error(self._head) is None


def actor_scheduler(
    ray: Any, placements: Sequence[Placement], start: Callable[[Placement], Worker], policy: Policy
) -> Scheduler:
    """Return a scheduler with a slot for each placement."""
    watch = ClusterWatch(ray)
    slots = [
        WorkerSlot(place.name, partial(start, place), partial(watch.is_alive, place.node))
        for place in placements
    ]
    return Scheduler(slots, policy, watch.check)


def _alive(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted((node for node in nodes if node["Alive"]), key=lambda node: str(node["NodeID"]))


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _resource(node: Mapping[str, Any], kind: str) -> int:
    return int(node["Resources"].get(kind, 0))
