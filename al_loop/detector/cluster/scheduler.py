"""Scoring on a Ray cluster: shards go to processes on its nodes, what they find comes back and is written here.

A node or a process that is lost costs the shards it had in hand: they go to the others. A seat has `_IN_FLIGHT` shards, one
to work on and one that waits there, so that nothing piles up anywhere.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmengine.config import Config

from al_loop.core.errors import AlLoopError, ClusterError, DataError
from al_loop.detector.cluster.actor import Kit, Lacking, Ready, Scored, Scorer, Sized
from al_loop.detector.cluster.seats import Seat, answers, head_of, joined, reason_of, seats
from al_loop.detector.inference.scoring import Batch, Progress, Say, ScoreSettings, Unreadable, planned
from al_loop.images.object_cache import local_copy
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.images import ImageFile

_IN_FLIGHT = 2
#: A shard over which so many processes have ended would end others too; a seat is given as many.
_TRIES = 3
#: Seconds to wait for the first process to start: others may be using the cores.
_QUEUE_TIMEOUT_S = 900.0
#: Seconds between looks at the head, and those it may be silent: after 60 Ray ends this process, without a word of ours.
_LOOK_S, _SILENT_S = 5.0, 30.0


def score_on_cluster(
    address: str,
    kit: Kit,
    config: Config,
    images: Sequence[ImageFile],
    store: ShardStore,
    settings: ScoreSettings,
    on_progress: Progress,
    *,
    say: Say,
    check: Callable[[], None],
) -> list[Unreadable]:
    """Do what `score_images` does, on the nodes of a cluster; this process alone writes.

    config: the model's.  The precision is what the kit asks for, on the node that is ready first.
    Raises ClusterError where no cluster answers, or none of its nodes can be used or is left; what is done is kept.
    """
    todo = store.missing(images)
    if not todo:
        return []
    total, done = len(images), len(images) - len(todo)
    unreadable: list[Unreadable] = []
    with joined(address) as ray:
        places = seats(ray.nodes(), kit.device)
        say(f"  on {_said(places)} of the Ray cluster")
        run = _Run(ray, kit, settings, planned(config, todo, settings), say)
        try:
            for shard, scored in run.results(places):
                check()
                if scored.predictions:
                    store.append(scored.predictions)
                unreadable += scored.unreadable
                done += sum(map(len, shard))
                on_progress(done, total)
        except (_NobodyLeftError, ConnectionError) as error:
            raise ClusterError(
                f"no node of the Ray cluster is left to score on: {error}. {done} of {total} images are done and kept. "
                "Look at the cluster: ray status; then run the same command again, with or without --ray"
            ) from None
        finally:
            run.close()
    return unreadable


def _said(places: Sequence[Seat]) -> str:
    nodes, gpus = len({seat.node for seat in places}), sum(seat.gpu for seat in places)
    where = "1 node" if nodes == 1 else f"{nodes} nodes"
    return f"{gpus} GPU{'s' * (gpus > 1)} of {where}" if gpus else where


class _NobodyLeftError(Exception):
    """All seats were lost; says why."""


@dataclass(eq=False)
class _Work:
    """A shard, and how many processes have ended over it."""

    shard: list[Batch]
    tries: int = 0


@dataclass(eq=False)
class _Place:
    """A seat and the process there.

    left: how many more may be started.  sees: its node has our images.  at_work: shards in hand, the oldest first.
    """

    seat: Seat
    left: int
    actor: Any = None
    ready: bool = False
    sees: bool = True
    at_work: list[_Work] = field(default_factory=list)


class _Run:
    """Who works on which shard."""

    def __init__(
        self, ray: Any, kit: Kit, settings: ScoreSettings, shards: Sequence[list[Batch]], say: Say
    ) -> None:
        self._ray, self._kit, self._say = ray, ray.put(kit), say
        self._settings: ScoreSettings | None = None
        self._asked = settings
        self._waiting = deque(_Work(shard) for shard in shards)
        self._probe = Sized.of(shards[0][0][0])
        self._places: list[_Place] = []
        self._calls: dict[Any, tuple[_Place, _Work | None]] = {}
        self._gone: list[str] = []
        self._head = head_of(ray)
        self._began = self._looked = self._heard = time.monotonic()

    def results(self, places: Sequence[Seat]) -> Iterator[tuple[list[Batch], Scored]]:
        """Yield every shard with what came of it, in the order in which they are done."""
        self._places = [_Place(seat, _TRIES) for seat in places]
        for place in self._places:
            self._open(place)
        while self._waiting or any(place.at_work for place in self._places):
            if not self._calls:
                raise _NobodyLeftError("; ".join(self._gone))
            place, work, answer = self._next()
            if isinstance(answer, Ready):
                place.ready, place.sees = True, answer.sees
                self._settings = self._settings or replace(self._asked, precision=answer.precision)
            elif isinstance(answer, Lacking) and work is not None:
                place.sees = False
                place.at_work.remove(work)
                self._send(place, work)
            elif isinstance(answer, Scored) and work is not None:
                place.at_work.remove(work)
                place.left = _TRIES - 1
            for other in self._places:
                self._occupy(other)
            if isinstance(answer, Scored) and work is not None:
                for note in answer.notes:
                    self._say(f"{note} ({place.seat.name})")
                yield work.shard, answer

    def close(self) -> None:
        """End all processes."""
        for place in self._places:
            self._ray.kill(place.actor)

    def _open(self, place: _Place) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        seat = place.seat
        place.left -= 1
        place.actor = (
            self._ray.remote(Scorer)
            .options(
                num_cpus=seat.cores,
                num_gpus=int(seat.gpu),
                scheduling_strategy=NodeAffinitySchedulingStrategy(seat.node, soft=False),
            )
            .remote(seat)
        )
        self._calls[place.actor.prepare.remote(self._kit, self._probe)] = place, None

    def _occupy(self, place: _Place) -> None:
        while place.ready and self._waiting and len(place.at_work) < _IN_FLIGHT:
            self._send(place, self._waiting.popleft())

    def _send(self, place: _Place, work: _Work) -> None:
        images = [image for batch in work.shard for image in batch]
        files = {} if place.sees else _read(images)
        # What cannot be read here is nowhere to be had: the node says so by name.
        sizes = [
            Sized.of(image) if place.sees or image.id in files else Sized(image, None) for image in images
        ]
        call = place.actor.score.remote(work.shard, sizes, files, self._settings, last=not place.sees)
        self._calls[call] = place, work
        place.at_work.append(work)

    def _next(self) -> tuple[_Place, _Work | None, object]:
        """Wait for an answer, None where a process was lost instead."""
        errors = self._ray.exceptions
        ended: list[Any] = []
        while not ended:
            ended, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=_LOOK_S)
            self._look()
        place, work = self._calls.pop(ended[0])
        try:
            return place, work, self._ray.get(ended[0])
        except errors.RayTaskError as error:
            if work is not None and isinstance(error.cause, AlLoopError):
                raise error.cause from None
            if work is None:  # it would not be ready another time either
                place.left = 0
            self._lost(place, reason_of(error.cause or error))
        except errors.RayError as error:
            if getattr(error, "actor_init_failed", False):
                place.left = 0
            self._lost(place, reason_of(error))
        return place, work, None

    def _look(self) -> None:
        """Raise where waiting is in vain: the head is gone, or nobody gets a place."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        if self._head is None or answers(self._head):
            self._heard = now
        elif now - self._heard > _SILENT_S:
            raise _NobodyLeftError(f"its head, {self._head[0]}, does not answer")
        if self._settings is None and now - self._began > _QUEUE_TIMEOUT_S:
            raise ClusterError(
                f"no process has started on the Ray cluster within {_QUEUE_TIMEOUT_S:g} s: others use its cores or GPUs. "
                "See: ray status; then run the same command again"
            )

    def _lost(self, place: _Place, reason: str) -> None:
        """Take back the shards of a process that has ended, and start another where that may help."""
        self._calls = {call: owner for call, owner in self._calls.items() if owner[0] is not place}
        self._ray.kill(place.actor)
        if place.at_work:
            self._blame(place.at_work[0], reason)
        self._waiting.extendleft(reversed(place.at_work))
        place.at_work, place.ready = [], False
        if place.left and self._alive(place.seat.node):
            self._say(f"  {place.seat.name}: a process was lost ({reason}); another is started")
            self._open(place)
            return
        self._say(f"  {place.seat.name} is left out: {reason}")
        self._gone.append(f"{place.seat.name}: {reason}")
        self._places.remove(place)

    def _alive(self, node: str) -> bool:
        """Without its head the cluster cannot be asked, and starts nothing."""
        if self._head is not None and not answers(self._head):
            return False
        return any(each["Alive"] for each in self._ray.nodes() if each["NodeID"] == node)

    def _blame(self, work: _Work, reason: str) -> None:
        work.tries += 1
        if work.tries == _TRIES:
            first, last = work.shard[0][0], work.shard[-1][-1]
            raise ClusterError(
                f"{_TRIES} processes of the Ray cluster ended over the same {sum(map(len, work.shard))} images, from "
                f"{first.path.name} to {last.path.name} ({reason}). What is done is kept. See what happens here: run the "
                "same command without --ray"
            )


def _read(images: Sequence[ImageFile]) -> dict[str, bytes]:
    found = {}
    for image in images:
        try:
            found[image.id] = local_copy(image).read_bytes()
        except (OSError, DataError):
            continue
    return found
