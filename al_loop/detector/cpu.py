"""Numbers of cores and of decoding workers."""

from __future__ import annotations

import os


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(available: int | None = None) -> int:
    """Return the number of decoding workers: two less than the cores, at most 4.

    available: cores of this process; None: all that it may use.
    On two cores it is 0: a decoding process beside torch's two threads makes both wait.
    """
    return max(0, min(4, (cores() if available is None else available) - 2))
