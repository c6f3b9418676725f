"""Distributed training: several processes together compute what one process would.

Each process takes its share of every batch. Gradients and losses are averaged over the processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_reduce, get_dist_info, get_world_size
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import DATA_SAMPLERS, MODEL_WRAPPERS
from torch import distributed
from torch.distributed import FileStore  # type: ignore[attr-defined]


@DATA_SAMPLERS.register_module()
class OneProcessSampler(DefaultSampler):  # type: ignore[misc]
    """Yields in every process the order of images that one process would use. The dataset is a RepeatDataset.

    partial: index of an epoch (from 0), and the number of images that it draws. All other epochs draw all
        images. None: every epoch draws all images.
    """

    def __init__(self, dataset: Any, partial: tuple[int, int] | None = None, **options: Any) -> None:
        super().__init__(dataset, **options)
        self.rank, self.world_size = 0, 1
        self.num_samples = self.total_size = len(dataset)
        self.partial = partial

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of an epoch."""
        order: list[int] = list(super().__iter__())
        if self.partial is not None and self.epoch == self.partial[0]:
            order = balanced_subset(order, len(self.dataset.dataset), self.partial[1])
        return iter(order)


@DATA_SAMPLERS.register_module()
class BatchShareSampler(AspectRatioBatchSampler):  # type: ignore[misc]
    """Yields the share of this process of each batch. batch_size counts the images of all processes."""

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the shares. A single process gets complete batches."""
        rank, processes = get_dist_info()
        for batch in super().__iter__():
            yield batch_share(batch, rank, processes)


def balanced_subset(order: Sequence[int], images: int, count: int) -> list[int]:
    """Return `count` indices in their order. The images occur equally often, up to a difference of one.

    order: indices of repeated images; index i is a copy of image i % images.
    """
    copies, rest = divmod(count, images)
    partial_copy = [i for i in order if i // images == copies][:rest]
    taken = set(partial_copy)
    return [i for i in order if i // images < copies or i in taken]


def batch_share(batch: Sequence[int], rank: int, processes: int) -> list[int]:
    """Return the part of a batch for one process. All processes get the same length.

    If the batch cannot be divided evenly, its first images occur twice.
    """
    length = -(-len(batch) // processes) * processes
    return [batch[i % len(batch)] for i in range(rank, length, processes)]


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
    process normalises by its own images there, and the running statistics are averaged after each epoch.
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
