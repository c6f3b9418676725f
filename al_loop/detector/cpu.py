"""How many cores and decoding workers a process uses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(own: int | None = None) -> int:
    """Return how many workers decode images beside a model with so many cores, all where None: two less, at most 4.

    On two cores none: a decoding process beside torch's own two threads makes both wait.
    """
    return max(0, min(4, (cores() if own is None else own) - 2))
