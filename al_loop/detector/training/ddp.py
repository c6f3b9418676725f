"""One training shared by several processes: what each of them does so that it stays one.

They see the batches of one process, each its part of every batch; gradients and losses are means over all of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_reduce, get_dist_info, get_world_size
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import DATA_SAMPLERS, MODEL_WRAPPERS
from torch import distributed


@DATA_SAMPLERS.register_module()
class WholeSampler(DefaultSampler):  # type: ignore[misc]
    """The order of images in which one process would see them, in every process.

    Of a dataset of repeated images: cut is an epoch, from 0, and how many images it draws; None for all, as in every
    other epoch.
    """

    def __init__(
        self, dataset: Any, shuffle: bool = True, seed: int | None = None, cut: tuple[int, int] | None = None
    ) -> None:
        super().__init__(dataset, shuffle, seed)
        self.rank, self.world_size = 0, 1
        self.num_samples = self.total_size = len(dataset)
        self.cut = cut

    def __iter__(self) -> Iterator[int]:
        """Draw the indices of an epoch."""
        order: Iterator[int] = super().__iter__()
        if self.cut is None or self.epoch != self.cut[0]:
            return order
        return iter(evenly(list(order), len(self.dataset.dataset), self.cut[1]))


@DATA_SAMPLERS.register_module()
class ShareOfBatches(AspectRatioBatchSampler):  # type: ignore[misc]
    """Of each batch of one process the images of this process; batch_size is that of all together."""

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the shares; batches of one process, where it is alone."""
        rank, processes = get_dist_info()
        for batch in super().__iter__():
            yield share(batch, rank, processes)


def evenly(order: Sequence[int], images: int, count: int) -> list[int]:
    """Return `count` of the indices in their order, so that no image is among them twice more than another.

    Index i is a copy of image i % images.
    """
    copies, rest = divmod(count, images)
    single = [i for i in order if i // images == copies][:rest]  # those of the one copy that is not whole
    taken = set(single)
    return [i for i in order if i // images < copies or i in taken]


def share(batch: Sequence[int], rank: int, processes: int) -> list[int]:
    """Return the part of a batch that is this process's, of equal length in all.

    The last batch of an epoch may not be a multiple of their number: its first images are then seen twice.
    """
    length = -(-len(batch) // processes) * processes
    return [batch[i % len(batch)] for i in range(rank, length, processes)]


@MODEL_WRAPPERS.register_module()
class SharedModel(MMDistributedDataParallel):  # type: ignore[misc]
    """A model whose gradients, and what a step says of its losses, are means over the processes.

    A loss that is not finite in one of them thus shows in all, in the same step.
    """

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        """Take a step; return the losses of the whole batch."""
        losses = super().train_step(data, optim_wrapper)
        names = sorted(losses)
        together = torch.stack([losses[name].detach().double() for name in names])
        all_reduce(together, op="mean")
        return dict(zip(names, together.unbind(), strict=True))


def wrapping(device: str, find_unused_parameters: bool) -> dict[str, Any]:
    """Return what the Runner's config needs in one of several processes; nothing where there is one.

    Between GPUs batch normalisation takes the statistics of the whole batch. torch has that for CUDA alone: on the CPU each
    process normalises by its own images, and the running statistics are averaged after each epoch.
    """
    if get_world_size() == 1:
        return {}
    cuda = device.startswith("cuda")
    wrapper = {
        "type": SharedModel.__name__,
        "device_ids": [torch.cuda.current_device()] if cuda else None,
        "broadcast_buffers": False,
        "find_unused_parameters": find_unused_parameters,
    }
    return {"model_wrapper_cfg": wrapper, **({"sync_bn": "torch"} if cuda else {})}


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the processes that share a training: NCCL between GPUs, gloo between processes on the CPU."""
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if cuda else "gloo")
    yield
    # Not after an error: the others may be waiting in it.
    distributed.destroy_process_group()
