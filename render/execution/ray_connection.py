"""Connecting to a Ray cluster, or to one on this machine alone."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from render.core.errors import WorkerError

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
    except ImportError as error:
        raise WorkerError(
            f"{address} needs Ray's client, got {error}: python -m pip install 'ray[client]=={ray.__version__}'; or run the "
            "command on a machine of the cluster, with --ray auto"
        ) from error
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        if versions := _other_versions(str(error)):
            raise WorkerError(_mismatch(address, *versions, ray.__version__)) from error
        raise WorkerError(
            f"no Ray cluster at {address} ({str(error).strip().splitlines()[0]}); start one: ray start --head, "
            "or name its address, or say --ray local"
        ) from error


def _other_versions(said: str) -> tuple[str, str] | None:
    """The cluster's versions of Ray and Python, where Ray says that ours are others."""
    found = re.search(r"Version mismatch.*?Ray: (\S+)\s+Python: (\S+)", said, re.DOTALL)
    return (found[1], found[2]) if found else None


def _mismatch(address: str, theirs: str, their_python: str, ours: str) -> str:
    what = f"the Ray cluster at {address} runs Ray {theirs} on Python {their_python}"
    mine = ".".join(map(str, sys.version_info[:3]))
    if theirs != ours:
        return (
            f"{what}, this command Ray {ours} on Python {mine}; both must be the same everywhere: "
            f"python -m pip install 'ray=={theirs}' here, or 'ray=={ours}' on every node and start the cluster anew"
        )
    return (
        f"{what}, this command on Python {mine}; Python must be the same everywhere: run the command with Python "
        f"{their_python}, or start the cluster anew with Python {mine}"
    )


def node_name(node: Mapping[str, Any]) -> str:
    """What people call a node of `ray.nodes()`: its host name and address."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


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
