"""In which numbers a model learns. Weights and gradients are float32 in any case."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from al_loop.detector.score import precision_here

if TYPE_CHECKING:
    from al_loop.detector.train import TrainSettings


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


def precision_of(wanted: str | None, device: str) -> str | None:
    """Return "fp32" or "bf16", for "auto" what the device computes faster; None stays None."""
    return wanted and precision_here(wanted, torch.device(device))


def laid_out(model: nn.Module, settings: TrainSettings) -> None:
    """Lay the weights of convolutions out as bfloat16 is fastest: the channels of a place next to each other."""
    if settings.precision == "bf16":
        model.to(memory_format=torch.channels_last)


def optimiser(config: Config, settings: TrainSettings) -> dict[str, Any]:
    """Return the config's optimiser with the learning rate and the precision of a training."""
    wrapper = dict(config.optim_wrapper)
    wrapper["optimizer"] = {**wrapper["optimizer"], "lr": settings.lr}
    if settings.precision == "bf16":
        wrapper["type"] = Bfloat16.__name__
    elif settings.precision is None and settings.device.startswith("cuda"):
        wrapper["type"] = "AmpOptimWrapper"
    return wrapper
