"""Connect to a Ray cluster. Raise the errors of al-loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from al_loop.core.errors import ClusterError
from render import WorkerError
from render.execution.ray_connection import connected


@contextmanager
def ray_cluster(address: str) -> Iterator[Any]:
    """Yield the module ray, connected to "auto", "host:port", "ray://host:port" or "local".

    Raises ClusterError if the connection fails, and for a WorkerError inside the block.
    """
    try:
        with connected(address) as ray:
            yield ray
    except WorkerError as error:
        raise ClusterError(str(error)) from error
