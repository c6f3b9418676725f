"""Scoring with workers that fail on demand, without Ray."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from al_loop.core.errors import ClusterError, ConfigError, ModelError
from al_loop.detector.cluster import scoring
from al_loop.detector.cluster.actor import MissingFiles, ShardResult
from al_loop.detector.cluster.scoring import ClusterDetector, place_actors, score_on_cluster
from al_loop.detector.inference.scoring import ScoreSettings
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, Prediction
from render import WorkerError
from render.execution.actor_pool import Placement
from render.execution.scheduler import Scheduler, TaskFailedError, WorkerSlot

SETTINGS = ScoreSettings(0.05, 1, 0, 1)
PLACEMENT = Placement("n", "a (10.0.0.1)", 1)


def node(name: str, **resources: float) -> dict[str, Any]:
    address = {"NodeManagerHostname": name, "NodeManagerAddress": "10.0.0.1"}
    return {"NodeID": name, "Alive": True, "Resources": resources, **address}


def test_actors_are_placed_on_gpus_or_where_there_are_none_on_nodes() -> None:
    plain = [node("a", CPU=8.0), node("b", CPU=4.0), node("d")]
    assert [(p.node, p.cores, p.gpu) for p in place_actors(plain, "auto")] == [
        ("a", 8, False),
        ("b", 4, False),
    ]
    mixed = [node("a", CPU=8.0), node("g", CPU=32.0, GPU=2.0)]
    assert [(p.node, p.cores, p.gpu) for p in place_actors(mixed, "auto")] == [("g", 16, True)] * 2
    assert [p.node for p in place_actors(mixed, "cpu")] == ["a", "g"]
    assert place_actors(mixed, "cuda") == place_actors(mixed, "cuda:1") == place_actors(mixed, "auto")
    with pytest.raises(ConfigError, match=r'device = "cuda".*no node of the Ray cluster has a GPU'):
        place_actors(plain, "cuda")
    with pytest.raises(ClusterError, match="no node of the Ray cluster offers a CPU core"):
        place_actors([node("d")], "auto")


class FakeActor:
    """Stands for `render.execution.actor_pool.Actor`. answer(method, arguments) may raise."""

    answer: Callable[..., Any]

    def __init__(self, ray: Any, actor_class: type, placement: Placement, *arguments: Any) -> None:
        self.killed = False

    def prepare(self, *arguments: Any) -> str:
        return "bf16"

    def call(self, method: str, *arguments: Any) -> Any:
        return self.answer(*arguments)

    def kill(self) -> None:
        self.killed = True


def scored(shard: Any, *_: Any, **__: Any) -> ShardResult:
    images = [image for batch in shard for image in batch]
    nothing = Boxes(scores=np.zeros(0)), np.zeros((0, 3), np.float32), np.ones(4, np.float32)
    return ShardResult([Prediction(image.id, *nothing) for image in images], [], ["a note"])


class Run:
    """Scores six images, a shard each, on one node."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = [ImageFile(str(n), folder / f"{n}.png", 9, 9) for n in range(6)]
        self.store, self.lines = ShardStore(folder), list[str]()
        self.progress: list[tuple[int, int]] = []
        self.alive = True
        ray = SimpleNamespace(nodes=lambda: [node("a", CPU=1.0)], put=lambda payload: payload)
        monkeypatch.setattr(scoring, "ray_cluster", lambda address: nullcontext(ray))
        monkeypatch.setattr(scoring, "plan_shards", lambda _, images, __: [[(image,)] for image in images])
        monkeypatch.setattr(scoring, "Actor", FakeActor)
        monkeypatch.setattr(scoring, "actor_scheduler", self._scheduler)

    def _scheduler(self, ray: Any, placements: list[Placement], start: Any, policy: Any) -> Any:
        return Scheduler(
            [WorkerSlot(p.name, lambda p=p: start(p), lambda: self.alive) for p in placements],  # type: ignore[misc]
            policy,
        )

    def __call__(self, answer: Callable[..., Any], check: Callable[[], None] = lambda: None) -> list[Any]:
        FakeActor.answer = staticmethod(answer)  # type: ignore[assignment]
        detector: Any = ClusterDetector("x", "cpu", None, None)  # type: ignore[arg-type]
        keep = lambda done, total: self.progress.append((done, total))  # noqa: E731
        return score_on_cluster(
            detector, self.images, self.store, SETTINGS, keep, say=self.lines.append, check=check
        )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path, monkeypatch)


def test_every_shard_is_kept_in_the_precision_of_the_first_actor(run: Run) -> None:
    precisions = []

    def answer(shard: Any, sizes: Any, files: Any, settings: ScoreSettings, last: bool) -> ShardResult:
        precisions.append(settings.precision)
        return scored(shard)

    assert run(answer) == []
    assert precisions == ["bf16"] * 6
    assert set(run.store.image_ids()) == {image.id for image in run.images}
    assert run.progress == [(n, 6) for n in range(1, 7)]
    assert run.lines == ["  on 1 node of the Ray cluster"] + ["a note (a (10.0.0.1))"] * 6
    assert run(answer) == []
    assert len(precisions) == 6


def test_files_that_a_node_does_not_see_are_sent(run: Run) -> None:
    for image in run.images[:5]:
        image.path.write_bytes(image.id.encode())
    sent: dict[str, bytes] = {}

    def answer(shard: Any, sizes: Any, files: dict[str, bytes], settings: Any, last: bool) -> Any:
        sent.update(files)
        # The last image cannot be read here either: its size is unknown.
        [(image_id, size)] = sizes.items()
        assert size == (1 if image_id != "5" else None)
        return scored(shard) if last else MissingFiles((shard[0][0].id,))

    run(answer)
    assert sent == {image.id: image.id.encode() for image in run.images[:5]}


def test_a_shard_that_must_not_be_kept_ends_the_run(run: Run) -> None:
    def check() -> None:
        if len(run.progress) == 2:
            raise ModelError("changed")

    with pytest.raises(ModelError, match="changed"):
        run(scored, check)
    assert len(run.store.image_ids()) == 2


def test_an_error_of_al_loop_ends_the_run_and_any_other_is_a_lost_process(run: Run) -> None:
    def answer(shard: Any, *_: Any, **__: Any) -> ShardResult:
        if len(run.lines) == 1:
            raise RuntimeError("one\n  CUDA error: no device")
        raise ModelError("not finite")

    with pytest.raises(ModelError, match="not finite"):
        run(answer)
    lost = "  a (10.0.0.1): a process was lost (CUDA error: no device); starting another"
    assert run.lines[1:] == [lost]


def test_a_shard_over_which_three_processes_end_is_named(run: Run) -> None:
    def answer(shard: Any, *_: Any, **__: Any) -> ShardResult:
        if shard[0][0].id == "3":
            raise TaskFailedError("it does not answer")
        return scored(shard)

    with pytest.raises(
        ClusterError,
        match=r"3 processes .* died while scoring the same 1 images, from 3\.png to 3\.png .* without --ray",
    ):
        run(answer)
    assert {"0", "1", "2"} <= set(run.store.image_ids())


@pytest.mark.parametrize("error", [TaskFailedError("the node is gone"), WorkerError("no CUDA")])
def test_without_any_node_it_says_why_and_what_is_kept(
    run: Run, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.alive = False

    def prepare(self: FakeActor, *arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(FakeActor, "prepare", prepare)
    with pytest.raises(ClusterError, match=rf"left to score on: a \(10\.0\.0\.1\): {error}\. 0 of 6 images"):
        run(scored)
