"""In which numbers a model computes here, and how it learns in them. Weights and gradients are float32 in any case."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

if TYPE_CHECKING:
    from al_loop.detector.training.train import TrainSettings

#: A convolution must be so many times as fast in bfloat16: less would not pay for what is scored twice.
_PAYS = 1.25


@OPTIM_WRAPPERS.register_module()
class Bfloat16(OptimWrapper):  # type: ignore[misc]
    """The forward pass in bfloat16, where torch deems it safe; mmengine's own wrapper has it for GPUs alone.

    The exponent is that of float32: the loss needs no scaling.
    """

    @contextmanager
    def optim_context(self, model: Any) -> Iterator[None]:
        """Enter it for a step."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


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


def learned_in(precision: str | None, device: str) -> str:
    """Return what the forward pass of a training computes in; None is mixed with "fp16" on CUDA, else "fp32"."""
    return precision or ("fp16" if device.startswith("cuda") else "fp32")


def laid_out(model: nn.Module, settings: TrainSettings) -> None:
    """Lay the weights of convolutions out as bfloat16 is fastest: the channels of a place next to each other."""
    if settings.precision == "bf16":
        model.to(memory_format=torch.channels_last)


def optimiser(config: Config, settings: TrainSettings) -> dict[str, Any]:
    """Return the config's optimiser with the learning rate and the precision of a training."""
    wrapper = dict(config.optim_wrapper)
    wrapper["optimizer"] = {**wrapper["optimizer"], "lr": settings.lr}
    numbers = learned_in(settings.precision, settings.device)
    if numbers == "bf16":
        wrapper["type"] = Bfloat16.__name__
    elif numbers == "fp16":
        wrapper["type"] = "AmpOptimWrapper"
    return wrapper
