"""Numerical precision of inference and training. Weights and gradients are always float32."""

from __future__ import annotations

import time
from functools import cache

import torch

#: "auto" means bf16 if a convolution is at least this many times as fast. Less is not worth the rounding.
_MIN_SPEEDUP = 1.25


def precision_here(wanted: str, device: torch.device | str) -> str:
    """Return the precision on a device: "auto" becomes "fp32" or "bf16", other values stay.

    "auto" becomes "bf16" if the device computes bf16 faster, without emulation. A CPU with AVX512-BF16 but
    without AMX may need twice as long for a convolution as in float32 (docs/results). So a convolution is
    timed, once per process.
    """
    if wanted != "auto":
        return wanted
    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # torch has no public function for the instructions of a CPU.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    if not any(getattr(torch.cpu, check, bool)() for check in checks):
        return "fp32"
    fp32, bf16 = convolution_seconds()
    return "bf16" if fp32 >= _MIN_SPEEDUP * bf16 else "fp32"


@cache
def convolution_seconds() -> tuple[float, float]:
    """Return the seconds of a middle layer's convolution in float32 and in bfloat16, each the best of six."""
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    with torch.inference_mode():
        for repeat in range(7):
            for kind in best:
                # Use ones: drawing random numbers would change the numbers drawn afterwards.
                image, weights = (
                    torch.ones(shape, dtype=kind).to(memory_format=torch.channels_last)
                    for shape in ((1, 128, 60, 60), (128, 128, 3, 3))
                )
                begun = time.perf_counter()
                torch.conv2d(image, weights, padding=1)
                if repeat:  # the first call prepares for the shape
                    best[kind] = min(best[kind], time.perf_counter() - begun)
    return best[torch.float32], best[torch.bfloat16]
