"""What a model runs on: the device, and the cores that decode for it."""

from __future__ import annotations

import os

import torch

from al_loop.core.errors import TrainingError


def choose_device(wanted: str) -> str:
    """Return "cuda" or "cpu" for "auto", else the device as it is; TrainingError where it cannot be used."""
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
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(available: int | None = None) -> int:
    """Return the number of decoding workers: two less than the cores, at most 4.

    available: cores of this process; None: all that it may use.
    On two cores it is 0: a decoding process beside torch's two threads makes both wait.
    """
    return max(0, min(4, (cores() if available is None else available) - 2))
