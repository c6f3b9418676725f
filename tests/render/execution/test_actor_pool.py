"""Where actors are placed, why one was lost, and when the cluster is, without a cluster."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from render.execution import actor_pool
from render.execution.actor_pool import ClusterWatch, cpu_placements, gpu_placements, reason_of
from render.execution.scheduler import NoWorkerLeftError


def node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {
        "NodeID": name,
        "NodeManagerHostname": f"host-{name}",
        "NodeManagerAddress": "10.0.0.1",
        "Alive": alive,
        "Resources": resources,
    }


@pytest.mark.parametrize(
    ("nodes", "cores", "workers", "placed"),
    [
        # Without numbers, every node gets one placement with all its cores.
        ({"a": 8, "b": 4, "c": 0}, None, None, [("a", 8, (0, 1)), ("b", 4, (0, 1))]),
        # 8 cores hold two placements of 3, 4 cores one; they go to the nodes in turn.
        ({"a": 8, "b": 4}, 3, None, [("a", 3, (0, 2)), ("b", 3, (0, 1)), ("a", 3, (1, 2))]),
        ({"a": 2}, 3, None, []),
        # Two workers on 4 + 4 cores get 4 each.
        ({"a": 4, "b": 4}, None, 2, [("a", 4, (0, 1)), ("b", 4, (0, 1))]),
        ({"a": 8}, None, 2, [("a", 4, (0, 2)), ("a", 4, (1, 2))]),
        ({"a": 8, "b": 8}, 1, 3, [("a", 1, (0, 8)), ("b", 1, (0, 8)), ("a", 1, (1, 8))]),
    ],
)
def test_placements_on_cores(
    nodes: dict[str, int], cores: int | None, workers: int | None, placed: list[tuple[str, int, Any]]
) -> None:
    states = [node(name, CPU=float(count)) for name, count in nodes.items()]
    placements = cpu_placements([*states, node("d", alive=False, CPU=9.0)], cores, workers)
    assert [(place.node, place.cores, place.share) for place in placements] == placed
    assert all(place.name == f"host-{place.node} (10.0.0.1)" and not place.gpu for place in placements)


def test_every_gpu_gets_a_placement_with_its_part_of_the_cores() -> None:
    placements = gpu_placements([node("a", CPU=8.0), node("g", CPU=33.0, GPU=2.0)])
    assert [(place.node, place.cores, place.gpu) for place in placements] == [("g", 16, True)] * 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "\x1b[36mray::A\x1b[39m ...\nModuleNotFoundError: No module named 'mmdet'",
            "No module named 'mmdet'; expected the same al-loop",
        ),
        ("The actor died\n\tbecause its node has died. Node Id: 8e\n\tnever ran", "the node is gone"),
        ("The actor 12 is unavailable: The actor is temporarily unavailable: RpcError", "it does not answer"),
        ("one\n  \x1b[31mCUDA error: no device\x1b[0m\n", "CUDA error: no device"),
        ("", "RuntimeError"),
    ],
)
def test_the_reason_of_a_loss_is_one_line(text: str, reason: str) -> None:
    assert reason_of(RuntimeError(text)).startswith(reason)


def test_a_lost_head_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_pool, "CHECK_S", 0.0)
    monkeypatch.setattr(actor_pool, "_HEAD_TIMEOUT_S", 0.0)
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        context = SimpleNamespace(gcs_address=f"127.0.0.1:{head.getsockname()[1]}")
        nodes = [node("a"), node("b", alive=False)]
        watch = ClusterWatch(SimpleNamespace(get_runtime_context=lambda: context, nodes=lambda: nodes))
        # Bound, but not listening.
        assert not watch.is_alive("a")
        with pytest.raises(NoWorkerLeftError, match=r"its head, 127\.0\.0\.1:\d+, does not answer"):
            watch.check()
        head.listen()
        watch.check()
        assert watch.is_alive("a")
        assert not watch.is_alive("b")
