"""What the loop needs of a Ray cluster: a connection, and places for processes that hold a model."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from al_loop.core.errors import ClusterError, ConfigError
from al_loop.core.versions import __version__
from render import WorkerError
from render.execution.ray_connection import connected, node_name

#: Seconds within which the head takes a connection.
_KNOCK_S = 5.0


@contextmanager
def joined(address: str) -> Iterator[Any]:
    """Ray, connected to "auto", "host:port", "ray://host:port", or "local"; ClusterError where that cannot be."""
    try:
        with connected(address) as ray:
            yield ray
    except WorkerError as error:
        raise ClusterError(str(error)) from error


@dataclass(frozen=True)
class Seat:
    """A place for one process with a model.

    node: Ray's id of it.  name: what people call it.  cores: how many are its own.  gpu: whether one GPU is.
    """

    node: str
    name: str
    cores: int
    gpu: bool


def seats(nodes: Sequence[Mapping[str, Any]], device: str) -> list[Seat]:
    """Return a seat for each GPU of the cluster, or where there is none for each node, with all its cores.

    nodes: as `ray.nodes()` says.  device: as in al-loop.toml. Nodes without a GPU stay idle beside others that have one:
    a CPU rounds otherwise. Raises ClusterError where there is no place at all.
    """
    alive = sorted((node for node in nodes if node["Alive"]), key=lambda node: str(node["NodeID"]))
    if device == "auto":
        device = "cuda" if any(_count(node, "GPU") for node in alive) else "cpu"
    found = []
    for node in alive:
        cores, gpus = _count(node, "CPU"), _count(node, "GPU")
        if device != "cpu":
            found += [Seat(node["NodeID"], node_name(node), cores // max(gpus, 1), True)] * gpus
        elif cores:
            found.append(Seat(node["NodeID"], node_name(node), cores, False))
    if not found and device != "cpu":
        raise ConfigError(
            f'device = "{device}" in al-loop.toml, but no node of the Ray cluster has a GPU. Set device = "auto"'
        )
    if not found:
        raise ClusterError("no node of the Ray cluster has a core for us. See: ray status; then add nodes")
    return found


def head_of(ray: Any) -> tuple[str, int] | None:
    """Return host and port of the process that keeps the cluster together; None where a client does not know them."""
    try:
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    except AttributeError:
        return None
    return host.strip("[]"), int(port)


def answers(place: tuple[str, int]) -> bool:
    """Say whether somebody listens there."""
    try:
        socket.create_connection(place, _KNOCK_S).close()
    except OSError:
        return False
    return True


def reason_of(error: BaseException) -> str:
    """Return in one line what Ray says at length of a process that it has lost."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    if missing := re.search(r"No module named '[\w.]+'", text):
        return f"{missing[0]}; expected al-loop {__version__} there: python -m pip install 'al-loop[ray]'"
    if "its node has died" in text:
        return "the node is gone"
    if "temporarily unavailable" in text:
        return "it does not answer"
    return (text.splitlines() or [type(error).__name__])[-1].strip()[:300]


def _count(node: Mapping[str, Any], what: str) -> int:
    return int(node["Resources"].get(what, 0))
