"""Connecting to a Ray cluster, or to one on this machine alone."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

from render.errors import WorkerError

#: Seconds within which a cluster takes a connection.
_KNOCK_S = 10.0


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to "auto", "host:port", "ray://host:port", or "local"; one that is connected already stays so.

    Raises WorkerError when Ray is not installed or no cluster answers.
    """
    _knock(address)
    ray = ray_for(address)
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def ray_for(address: str) -> Any:
    """The module, imported so that a cluster of one's own is closed to others; WorkerError without it."""
    if address == "local":
        # Read when Ray is imported. Ray asks nobody for a password: alone, it listens to this machine only.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise WorkerError(
            f"expected Ray for --ray, got {error}; install it here and on every node: "
            "python -m pip install 'al-loop[ray]'"
        ) from error
    return ray


def _connect(ray: Any, address: str) -> None:
    alone = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **alone)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise WorkerError(
            f"no Ray cluster at {address} ({str(error).strip().splitlines()[0]}); start one: ray start --head, "
            "or name its address, or say --ray local"
        ) from error


def _knock(address: str) -> None:
    """Ray itself tries for minutes where nobody listens; raises WorkerError at once."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()
    except OSError as error:
        raise WorkerError(
            f"no Ray cluster at {address} ({error.strerror or error}); start one: ray start --head, or name its address, "
            "or say --ray local"
        ) from error
