"""Numerical precision of inference and training. Weights and gradients are always float32."""

from __future__ import annotations

import time
from functools import cache

import torch

#: "auto" takes bf16 where a convolution is at least this many times as fast: less is not worth the rounding.
_PAYS = 1.25


def precision_here(wanted: str, device: torch.device) -> str:
    """Return the precision on a device: "auto" becomes "fp32" or "bf16", other values stay.

    bf16 is taken where the device computes it faster, without emulation. A CPU with AVX512-BF16 alone may
    take twice as long for a convolution as in float32 (docs/results). So one is timed, once in a process.
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
    """Return the seconds of a middle layer's convolution in float32 and in bfloat16, the best of six each."""
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    with torch.inference_mode():
        for repeat in range(7):
            for kind in best:
                # Ones: random numbers would change those drawn afterwards.
                seen, weights = (
                    torch.ones(shape, dtype=kind).to(memory_format=torch.channels_last)
                    for shape in ((1, 128, 60, 60), (128, 128, 3, 3))
                )
                begun = time.perf_counter()
                torch.conv2d(seen, weights, padding=1)
                if repeat:  # the first call prepares for the shape
                    best[kind] = min(best[kind], time.perf_counter() - begun)
    return best[torch.float32], best[torch.bfloat16]


def precision_of(wanted: str | None, device: str) -> str | None:
    """Return what `precision_here` does for the name of a device; None stays None."""
    return wanted and precision_here(wanted, torch.device(device))
