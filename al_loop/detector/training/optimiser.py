"""The optimiser of a training, in its precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    pass

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

if TYPE_CHECKING:
    from al_loop.detector.training.settings import TrainSettings


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


def learned_in(precision: str | None, device: str) -> str:
    """Return what the forward pass of a training computes in; None is mixed with "fp16" on CUDA, else "fp32"."""
    return precision or ("fp16" if device.startswith("cuda") else "fp32")
