"""Distributed training: several processes together compute what one process would.

Each process takes its share of every batch. Gradients and losses are averaged over the processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from torch import distributed
from torch.distributed import FileStore  # type: ignore[attr-defined]


@MODEL_WRAPPERS.register_module()
class MeanLossDDP(MMDistributedDataParallel):  # type: ignore[misc]
    """DistributedDataParallel that also averages the reported losses.

    If a loss is not finite in one process, all processes report this in the same step.
    """

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        """Run a training step. Return the losses of the complete batch."""
        losses = super().train_step(data, optim_wrapper)
        names = sorted(losses)
        stacked = torch.stack([losses[name].detach().double() for name in names])
        all_reduce(stacked, op="mean")
        return dict(zip(names, stacked.unbind(), strict=True))


def wrapper_config(device: str, find_unused_parameters: bool) -> dict[str, Any]:
    """Return the Runner's config for a model that several processes train. Empty for a single process.

    On GPUs batch normalisation takes the statistics of the whole batch. torch cannot do that on the CPU: each
    process normalises by its own images there, and the running statistics are averaged before each
    checkpoint and validation.
    """
    if get_world_size() == 1:
        return {}
    cuda = device.startswith("cuda")
    wrapper = {
        "type": MeanLossDDP.__name__,
        "device_ids": [torch.cuda.current_device()] if cuda else None,
        "broadcast_buffers": False,
        "find_unused_parameters": find_unused_parameters,
    }
    return {"model_wrapper_cfg": wrapper, **({"sync_bn": "torch"} if cuda else {})}


@contextmanager
def process_group(device: str, store: Path) -> Iterator[None]:
    """Join the process group of torchrun's workers: NCCL between GPUs, gloo on the CPU.

    store: file where the processes exchange addresses. torch's TCP store would listen on all addresses of the
        machine.
    """
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    backend, shared = "nccl" if cuda else "gloo", FileStore(str(store), processes)
    distributed.init_process_group(backend, store=shared, rank=rank, world_size=processes)
    yield
    # Skipped after an error: the other processes may be waiting in the group.
    distributed.destroy_process_group()
