"""In which numbers a model computes here, and how it learns in them. Weights and gradients are float32 in any case."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    pass

#: A convolution must be so many times as fast in bfloat16: less would not pay for what is scored twice.
_PAYS = 1.25


def precision_here(wanted: str, device: torch.device) -> str:
    """Return "fp32" or "bf16": for "auto" what the device computes faster without emulating it, else what was asked for.

    A CPU that has instructions for it is not always faster: with AVX512-BF16 alone a convolution may take twice as
    long as in float32 (docs/results). So one is timed, a tenth of a second once in a process.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # torch has no public name for what a CPU computes.
    asked = (
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    if not any(ask() for ask in asked if ask is not None):
        return "fp32"
    plain, half = convolution_seconds()
    return "bf16" if plain >= _PAYS * half else "fp32"


@cache
def convolution_seconds() -> tuple[float, float]:
    """What a convolution of a detector's middle layers takes in float32 and in bfloat16, the best of turns."""
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    with torch.inference_mode():
        for turn in range(7):
            for kind in best:
                # Not of random numbers: what is drawn afterwards stays the same.
                seen, weights = (
                    torch.ones(shape, dtype=kind).to(memory_format=torch.channels_last)
                    for shape in ((1, 128, 60, 60), (128, 128, 3, 3))
                )
                begun = time.perf_counter()
                torch.conv2d(seen, weights, padding=1)
                if turn:  # the first is prepared for its shape
                    best[kind] = min(best[kind], time.perf_counter() - begun)
    return best[torch.float32], best[torch.bfloat16]


def precision_of(wanted: str | None, device: str) -> str | None:
    """Return "fp32" or "bf16", for "auto" what the device computes faster; None stays None."""
    return wanted and precision_here(wanted, torch.device(device))
