"""Who works on which shard when processes end, by a stand-in for Ray whose processes end when they are told to."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from al_loop.core.errors import ClusterError, ModelError
from al_loop.detector.cluster import scheduler
from al_loop.detector.cluster.actor import Ready, Scored
from al_loop.detector.cluster.seats import Seat, reason_of
from al_loop.detector.inference.scoring import ScoreSettings
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, Prediction
from render.execution.ray_connection import ray_for

if importlib.util.find_spec("ray") is None:
    pytest.skip("Ray is an extra: pip install 'al-loop[ray]'", allow_module_level=True)
exceptions = ray_for("local").exceptions
SETTINGS = ScoreSettings(0.05, 1, 0, 1)
A, B = "a" * 56, "b" * 56  # as Ray names nodes
SEATS = [Seat(A, "a (10.0.0.1)", 1, False), Seat(B, "b (10.0.0.2)", 1, False)]


class Process:
    """An actor: answers in order, and not at all once it has ended."""

    def __init__(self, node: str, behave: Callable[[Process, str], None]) -> None:
        self.node, self.dead = node, False
        self._behave = behave
        self.prepare = SimpleNamespace(remote=lambda kit, probe: (self, lambda: Ready("fp32", True)))
        self.score = SimpleNamespace(remote=lambda shard, *_, last: (self, lambda: self._scored(shard)))

    def _scored(self, shard: Any) -> Scored:
        name = shard[0][0].id
        self._behave(self, name)
        nothing = Prediction(
            name, Boxes(scores=np.zeros(0)), np.zeros((0, 3), np.float32), np.ones(4, np.float32)
        )
        return Scored([nothing], [], [])


class Ray:
    """As much of Ray as a run needs. behave(process, id) may end the process; most: shards in hand at a time, seen."""

    def __init__(self, behave: Callable[[Process, str], None]) -> None:
        self.exceptions, self.behave = exceptions, behave
        self.alive = {A, B}
        self.started: list[str] = []
        self.processes: list[Process] = []
        self.most = 0

    def put(self, thing: object) -> object:
        return thing

    def remote(self, _: object) -> Any:
        def options(scheduling_strategy: Any, **_: object) -> Any:
            def start(seat: Seat) -> Process:
                self.started.append(seat.node)
                self.processes.append(Process(scheduling_strategy.node_id, self.behave))
                return self.processes[-1]

            return SimpleNamespace(remote=start)

        return SimpleNamespace(options=options)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": name, "Alive": name in self.alive} for name in (A, B)]

    def wait(self, calls: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        self.most = max(self.most, *(sum(p is other for p, _ in calls) for other, _ in calls))
        return calls[:1], calls[1:]

    def get(self, call: Any) -> Any:
        process, answer = call
        if process.dead or process.node not in self.alive:
            raise exceptions.ActorDiedError
        return answer()

    def kill(self, process: Process) -> None:
        process.dead = True

    def get_runtime_context(self) -> object:
        return object()  # knows no head


def run(ray: Ray, count: int = 8) -> tuple[list[str], list[str]]:
    told: list[str] = []
    shards = [[(ImageFile(str(n), Path(f"{n}.png"), 9, 9),)] for n in range(count)]
    going = scheduler._Run(ray, SimpleNamespace(), SETTINGS, shards, told.append)  # type: ignore[arg-type]
    done = [shard[0][0].id for shard, _ in going.results(SEATS)]
    return done, told


def ended() -> None:
    raise exceptions.ActorDiedError


def test_shards_are_given_two_at_a_time() -> None:
    ray = Ray(lambda process, name: None)
    done, told = run(ray)
    assert sorted(done) == [str(n) for n in range(8)]
    assert (told, ray.started, ray.most) == ([], [A, B], 2)


def test_a_process_that_ends_is_started_anew_and_its_shards_are_done() -> None:
    left = ["2", "5"]

    def behave(process: Process, name: str) -> None:
        if name in left:
            left.remove(name)
            ended()

    ray = Ray(behave)
    done, told = run(ray)
    assert sorted(done) == [str(n) for n in range(8)]
    assert len(ray.started) == 4
    assert len(told) == 2
    assert all("a process was lost" in line and "another is started" in line for line in told)


def test_a_shard_that_ends_three_processes_ends_the_run_and_is_named() -> None:
    ray = Ray(lambda process, name: ended() if name == "6" else None)
    with pytest.raises(
        ClusterError, match=r"3 processes .* over the same 1 images, from 6\.png to 6\.png .* without --ray"
    ):
        run(ray)


def test_a_node_that_is_gone_is_left_out_and_without_any_it_says_why() -> None:
    gone = ["3"]

    def behave(process: Process, name: str) -> None:
        if name in gone:
            gone.remove(name)
            ray.alive.discard(process.node)
            ended()

    ray = Ray(behave)
    done, told = run(ray)
    assert sorted(done) == [str(n) for n in range(8)]
    [line] = told
    assert "is left out" in line
    ray = Ray(lambda process, name: None)
    ray.alive.clear()
    with pytest.raises(scheduler._NobodyLeftError, match=r"a \(10\.0\.0\.1\): .*; b \(10\.0\.0\.2\): "):
        run(ray)


def test_a_head_that_is_silent_and_a_cluster_that_is_taken_end_the_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = Ray(lambda process, name: None)
    monkeypatch.setattr(ray, "wait", lambda calls, **_: ([], calls))
    monkeypatch.setattr(scheduler, "_LOOK_S", 0.0)
    monkeypatch.setattr(scheduler, "_QUEUE_TIMEOUT_S", 0.0)
    with pytest.raises(ClusterError, match=r"no process has started .* others use its cores or GPUs"):
        run(ray)
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address=address))
        monkeypatch.setattr(scheduler, "_SILENT_S", 0.0)
        with pytest.raises(scheduler._NobodyLeftError, match=r"its head, 127\.0\.0\.1, does not answer"):
            run(ray)


def test_an_error_of_ours_is_not_tried_again() -> None:
    def behave(process: Process, name: str) -> None:
        raise exceptions.RayTaskError("score", "traceback", ModelError("not finite"))

    with pytest.raises(ModelError, match="not finite"):
        run(Ray(behave))


def test_a_shard_that_must_not_be_kept_ends_the_run_and_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray, kept = Ray(lambda process, name: None), []
    monkeypatch.setattr(scheduler, "joined", lambda address: nullcontext(ray))
    monkeypatch.setattr(scheduler, "seats", lambda nodes, device: SEATS)
    monkeypatch.setattr(
        scheduler, "planned", lambda config, images, settings: [[(image,)] for image in images]
    )
    images = [ImageFile(str(n), Path(f"{n}.png"), 9, 9) for n in range(6)]

    def check() -> None:
        if len(kept) == 2:
            raise ModelError("changed")

    def score() -> list[object]:
        return scheduler.score_on_cluster(
            "x",
            SimpleNamespace(device="cpu"),  # type: ignore[arg-type]
            SimpleNamespace(),  # type: ignore[arg-type]
            images,
            store,
            SETTINGS,
            lambda done, total: kept.append((done, total)),
            say=lambda text: None,
            check=check,
        )  # type: ignore[return-value]

    store = ShardStore(tmp_path)
    with pytest.raises(ModelError, match="changed"):
        score()
    assert kept == [(1, 6), (2, 6)]
    assert len(store.image_ids()) == 2
    assert all(process.dead for process in ray.processes)
    kept.append((0, 0))
    assert score() == []
    assert set(store.image_ids()) == {image.id for image in images}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\x1b[36mray::Scorer\x1b[39m ...\nModuleNotFoundError: No module named 'mmdet'", "No module named 'mmdet'; expected"),
        ("The actor died\n\tbecause its node has died. Node Id: 8e\n\tnever ran", "the node is gone"),
        ("The actor 12 is unavailable: The actor is temporarily unavailable: RpcError", "it does not answer"),
        ("one\n  \x1b[31mCUDA error: no device\x1b[0m\n", "CUDA error: no device"),
        ("", "RuntimeError"),
    ],
)  # fmt: skip
def test_what_ray_says_at_length_is_one_line(text: str, says: str) -> None:
    assert reason_of(RuntimeError(text)).startswith(says)
