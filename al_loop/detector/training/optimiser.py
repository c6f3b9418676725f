"""Optimiser and numerical precision of a training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from al_loop.detector.precision import precision_here
from al_loop.detector.training.job import RunSettings

#: Optimisers of torch that can update all parameters in one loop.
_FUSED = ("Adam", "AdamW", "SGD")


@OPTIM_WRAPPERS.register_module()
class Bfloat16(OptimWrapper):  # type: ignore[misc]
    """Autocasts the forward pass to bfloat16, also on the CPU. mmengine's own wrapper needs a GPU.

    bfloat16 has the exponent of float32: the loss needs no scaling.
    """

    @contextmanager
    def optim_context(self, model: Any) -> Iterator[None]:
        """Autocast inside the block."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


def keep_depthwise_in_float32(model: nn.Module) -> None:
    """Compute the depthwise convolutions that are trained in float32, also while others are autocast.

    On a CPU, their gradient takes up to four times as long in bfloat16 as in float32.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1 and module.weight.requires_grad:
            # A partial, because a copy of the model then gets the copy of the module.
            module.forward = partial(_forward_in_float32, module)  # type: ignore[method-assign]


def _forward_in_float32(convolution: nn.Conv2d, maps: Tensor) -> Tensor:
    with torch.autocast(maps.device.type, enabled=False):
        return type(convolution).forward(convolution, maps.float())


def optimiser_config(config: Config, run: RunSettings) -> dict[str, Any]:
    """Return the optimiser of a model's config with the learning rates and the precision of a run."""
    wrapper = deepcopy(dict(config.optim_wrapper))
    wrapper["optimizer"]["lr"] = run.lr
    if wrapper["optimizer"]["type"] in _FUSED:
        wrapper["optimizer"].setdefault("fused", True)
    if run.settings.backbone_lr is not None:
        keys = wrapper.setdefault("paramwise_cfg", {}).setdefault("custom_keys", {})
        keys["backbone"] = {**keys.get("backbone", {}), "lr_mult": run.settings.backbone_lr}
    if run.precision == "bf16":
        wrapper["type"] = Bfloat16.__name__
    elif run.precision == "fp16":
        wrapper["type"] = "AmpOptimWrapper"
    return wrapper


def training_precision(wanted: str, device: str) -> str:
    """Return the precision of the forward pass in training.

    wanted: "fp32" or "bf16" stay. "auto" is "bf16" where that is faster, otherwise "fp32", on CUDA mixed
        "fp16".
    """
    precision = precision_here(wanted, device)
    older_gpu = precision == "fp32" and device.startswith("cuda")
    return "fp16" if wanted == "auto" and older_gpu else precision
