"""Choose the device of a model, and the number of processes that decode images."""

from __future__ import annotations

import os

import torch

from al_loop.core.errors import TrainingError


def choose_device(wanted: str) -> str:
    """Return "cuda" or "cpu" for "auto", and any other device unchanged.

    Raises TrainingError if the device cannot be used.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(
            f'device = "{wanted}" cannot be used here ({error}). Set device = "auto" in al-loop.toml.'
        ) from None
    return wanted


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(available: int | None = None) -> int:
    """Return the number of decoding workers: two less than the cores, at most 4.

    available: number of cores. None: all cores that this process may use.
    On two cores the result is 0: a decoding process beside torch's two threads makes both wait.
    """
    return max(0, min(4, (cores() if available is None else available) - 2))
