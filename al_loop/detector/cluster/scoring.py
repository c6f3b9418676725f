"""Score on a Ray cluster: actors score the shards, this process writes the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mmengine.config import Config

from al_loop.core.errors import AlLoopError, ClusterError, ConfigError, DataError
from al_loop.detector.cluster.actor import MissingFiles, ModelPayload, ScoringActor, ShardResult, file_size
from al_loop.detector.cluster.connection import ray_cluster
from al_loop.detector.inference.scoring import Batch, Progress, Say, ScoreSettings, Unreadable, plan_shards
from al_loop.images.object_cache import local_copy
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.images import ImageFile
from render.execution.actor_pool import (
    Actor,
    Placement,
    actor_scheduler,
    cpu_placements,
    gpu_placements,
    reason_of,
)
from render.execution.scheduler import NoWorkerLeftError, Policy, TaskFailedError

#: Attempts at a shard, and processes that a node may lose in a row.
_TRIES = 3
#: Shards sent to an actor at a time: it scores one while the next is transferred.
_IN_FLIGHT = 2

Shard = Sequence[Batch]


@dataclass(frozen=True, eq=False)
class ClusterDetector:
    """A model to score with on a cluster.

    address: address of the cluster, see `ray_cluster`.
    device: as in al-loop.toml.
    config: config of the model.
    """

    address: str
    device: str
    payload: ModelPayload
    config: Config


def score_on_cluster(
    detector: ClusterDetector,
    images: Sequence[ImageFile],
    store: ShardStore,
    settings: ScoreSettings,
    on_progress: Progress,
    *,
    say: Say,
    check: Callable[[], None],
) -> list[Unreadable]:
    """Score images as `score_images` does, on the nodes of a cluster.

    The first ready actor decides which precision "auto" means.
    Raises ClusterError if no cluster answers or no usable node is left. Finished shards are kept.
    """
    todo = store.missing(images)
    if not todo:
        return []
    total, done = len(images), len(images) - len(todo)
    unreadable: list[Unreadable] = []

    def store_result(shard: Shard, result: ShardResult | TaskFailedError) -> None:
        nonlocal done
        if isinstance(result, TaskFailedError):
            raise _repeated_failure(shard, result)
        check()
        for note in result.notes:
            say(note)
        if result.predictions:
            store.append(result.predictions)
        unreadable.extend(result.unreadable)
        done += sum(map(len, shard))
        on_progress(done, total)

    policy = Policy(
        _TRIES,
        _TRIES,
        _IN_FLIGHT,
        on_restart=lambda name, reason: say(f"  {name}: a process was lost ({reason}); starting another"),
        on_left_out=lambda name, error: say(f"  {name} is left out: {error}"),
    )
    with ray_cluster(detector.address) as ray:
        placements = place_actors(ray.nodes(), detector.device)
        say(f"  on {_summary(placements)} of the Ray cluster")
        shards = plan_shards(detector.config, todo, settings)
        start = partial(_Worker, ray, ray.put(detector.payload), settings, [])
        try:
            actor_scheduler(ray, placements, start, policy).run(shards, store_result)
        except (NoWorkerLeftError, ConnectionError) as error:
            raise ClusterError(
                f"no node of the Ray cluster is left to score on: {error}. {done} of {total} images are done "
                "and kept. Look at the cluster: ray status; then run the same command again, with or "
                "without --ray"
            ) from None
    return unreadable


def place_actors(nodes: Sequence[Any], device: str) -> list[Placement]:
    """Return one placement per GPU of the cluster, or one per node if the cluster has no GPU.

    If any node has a GPU, the nodes without one stay idle, because a CPU rounds differently.

    nodes: result of `ray.nodes()`.
    device: as in al-loop.toml.
    Raises ConfigError if `device` asks for a GPU and there is none, ClusterError if there is no core.
    """
    placements = [] if device == "cpu" else gpu_placements(nodes)
    if not placements and device not in ("auto", "cpu"):
        raise ConfigError(
            f'device = "{device}" in al-loop.toml, but no node of the Ray cluster has a GPU. '
            'Set device = "auto"'
        )
    placements = placements or cpu_placements(nodes)
    if not placements:
        raise ClusterError("no node of the Ray cluster offers a CPU core. See: ray status. Then add nodes")
    return placements


def _summary(placements: Sequence[Placement]) -> str:
    nodes, gpus = len({place.node for place in placements}), sum(place.gpu for place in placements)
    where = "1 node" if nodes == 1 else f"{nodes} nodes"
    return f"{gpus} GPU{'s' * (gpus > 1)} of {where}" if gpus else where


def _repeated_failure(shard: Shard, error: TaskFailedError) -> ClusterError:
    first, last = shard[0][0], shard[-1][-1]
    return ClusterError(
        f"{_TRIES} processes of the Ray cluster died while scoring the same {sum(map(len, shard))} images, "
        f"from {first.path.name} to {last.path.name} ({error}). Finished shards are kept. To find the "
        "cause, run the same command without --ray"
    )


class _Worker:
    """An actor that scores shards, seen from the driver; a `render.execution.scheduler.Worker`.

    payload: Ray's reference to a `ModelPayload`.
    precisions: precision of each ready actor. All actors score in the first of them.
    """

    def __init__(
        self, ray: Any, payload: Any, settings: ScoreSettings, precisions: list[str], placement: Placement
    ) -> None:
        self._payload, self._settings, self._precisions = payload, settings, precisions
        self._name, self.fit, self._sees_files = placement.name, True, True
        self._actor = Actor(ray, ScoringActor, placement, placement)

    def prepare(self) -> None:
        """Wait until the model is loaded; raises WorkerError if it cannot be used on this node."""
        self._precisions.append(self._actor.prepare(self._payload, self._settings.precision))

    def run(self, shard: Shard) -> ShardResult:
        """Score a shard; send its files if the node does not see them."""
        try:
            result = self._score(shard)
            if isinstance(result, MissingFiles):
                self._sees_files = False
                result = self._score(shard)
        except AlLoopError:
            raise
        except Exception as error:
            self.fit = False
            raise TaskFailedError(reason_of(error)) from error
        assert isinstance(result, ShardResult)  # the second call never returns MissingFiles
        return replace(result, notes=[f"{note} ({self._name})" for note in result.notes])

    def close(self) -> None:
        """End the actor."""
        self._actor.kill()

    def _score(self, shard: Shard) -> ShardResult | MissingFiles:
        sees_files = self._sees_files  # another thread may change it meanwhile
        images = [image for batch in shard for image in batch]
        files = {} if sees_files else _read_files(images)
        # A file that the driver cannot read is missing everywhere: the node reports it by name.
        sizes = {i.id: file_size(i) if sees_files or i.id in files else None for i in images}
        settings = replace(self._settings, precision=self._precisions[0])
        answer: ShardResult | MissingFiles = self._actor.call(
            "score", shard, sizes, files, settings, not sees_files
        )
        return answer


def _read_files(images: Sequence[ImageFile]) -> dict[str, bytes]:
    """Return the bytes of the images that can be read, by id."""
    files = {}
    for image in images:
        try:
            files[image.id] = local_copy(image).read_bytes()
        except (OSError, DataError):
            continue
    return files
