"""Connect to a Ray cluster, or start one on this machine."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from collections.abc import Iterator
from typing import Any

from render.core.errors import WorkerError

#: Seconds in which a cluster must accept a connection.
CONNECT_S = 5.0


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """Yield the module ray, connected to a cluster. An existing connection is used, and stays open.

    address: "auto", "host:port", "ray://host:port", or "local" for a cluster on this machine.
    Raises WorkerError if Ray is not installed, no cluster answers, or its versions are others.
    """
    _check_port(address)
    ray = import_ray(address)
    connect = not ray.is_initialized()
    if connect:
        _connect(ray, address)
    try:
        yield ray
    finally:
        if connect:
            ray.shutdown()


def import_ray(address: str) -> Any:
    """Import Ray; raises WorkerError if it is not installed.

    address: "local" for a cluster that must listen on the loopback interface only.
    """
    if address == "local":
        # Ray reads these at import. It asks for no password: others must not reach a local cluster.
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
    options = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
    except ImportError as error:
        raise WorkerError(
            f"{address} needs Ray's client, got {error}: "
            f"python -m pip install 'ray[client]=={ray.__version__}'; "
            "or run the command on a machine of the cluster, with --ray auto"
        ) from error
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        text = str(error).strip()
        # Ray's message has the versions of the cluster first.
        if match := re.search(r"Version mismatch.*?Ray: (\S+)\s+Python: (\S+)", text, re.DOTALL):
            raise WorkerError(_mismatch(address, match[1], match[2], ray.__version__)) from error
        raise _no_cluster(address, text.splitlines()[0]) from error


def _mismatch(address: str, cluster_ray: str, cluster_python: str, ray: str) -> str:
    cluster = f"the Ray cluster at {address} runs Ray {cluster_ray} on Python {cluster_python}"
    python = ".".join(map(str, sys.version_info[:3]))
    if cluster_ray != ray:
        return (
            f"{cluster}, this command Ray {ray} on Python {python}; both must be the same everywhere: "
            f"python -m pip install 'ray=={cluster_ray}' here, "
            f"or 'ray=={ray}' on every node and start the cluster anew"
        )
    return (
        f"{cluster}, this command on Python {python}; Python must be the same everywhere: "
        f"run the command with Python {cluster_python}, or start the cluster anew with Python {python}"
    )


def _check_port(address: str) -> None:
    """Raise WorkerError if nobody listens: Ray itself would retry for minutes."""
    if (error := connection_error(address.removeprefix("ray://"))) is not None:
        raise _no_cluster(address, error.strerror or str(error)) from error


def connection_error(address: str) -> OSError | None:
    """Why nobody accepts a connection at "host:port"; None if somebody does, and for other addresses."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return None
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError as error:
        return error
    return None


def _no_cluster(address: str, reason: str) -> WorkerError:
    return WorkerError(
        f"no Ray cluster at {address} ({reason}); start one: ray start --head, or name its address, "
        "or say --ray local"
    )
