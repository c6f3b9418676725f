"""The device that a model runs on."""

from __future__ import annotations

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
