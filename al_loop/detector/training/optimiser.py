"""Optimiser and numerical precision of a training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from al_loop.detector.training.job import RunSettings


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


def optimiser_config(config: Config, run: RunSettings) -> dict[str, Any]:
    """Return the optimiser of a model's config with the learning rates and the precision of a run."""
    wrapper = deepcopy(dict(config.optim_wrapper))
    wrapper["optimizer"]["lr"] = run.lr
    if run.settings.backbone_lr is not None:
        keys = wrapper.setdefault("paramwise_cfg", {}).setdefault("custom_keys", {})
        keys["backbone"] = {**keys.get("backbone", {}), "lr_mult": run.settings.backbone_lr}
    precision = training_precision(run.precision, run.device)
    if precision == "bf16":
        wrapper["type"] = Bfloat16.__name__
    elif precision == "fp16":
        wrapper["type"] = "AmpOptimWrapper"
    return wrapper


def training_precision(precision: str | None, device: str) -> str:
    """Return the precision of the forward pass in training. None: mixed "fp16" on CUDA, else "fp32"."""
    return precision or ("fp16" if device.startswith("cuda") else "fp32")
