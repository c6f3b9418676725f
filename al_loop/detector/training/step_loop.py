"""The training loop: a number of steps, and the images of each step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmdet.registry import DATASETS
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS, LOOPS
from mmengine.runner import IterBasedTrainLoop, set_random_seed
from torch.utils.data import Dataset, Sampler


@LOOPS.register_module()
class StepLoop(IterBasedTrainLoop):  # type: ignore[misc]
    """Trains for a number of steps.

    A resumed training expects that its data loader begins with the next batch. mmengine's loop would read the
    images of all earlier steps again. The random numbers of a step depend on the seed and the step alone.
    """

    def run(self) -> Any:
        """Train, and validate after every `val_interval` steps and after the last."""
        runner = self.runner
        runner.call_hook("before_train")
        runner.call_hook("before_train_epoch")
        while self._iter < self._max_iters and not self.stop_training:
            runner.model.train()
            set_random_seed(_step_seed(runner.seed, self._iter))
            self.run_iter(next(self.dataloader_iterator))
            if self._iter % self.val_interval == 0 or self._iter == self._max_iters:
                runner.val_loop.run()
        runner.call_hook("after_train_epoch")
        runner.call_hook("after_train")
        return runner.model


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


@DATA_SAMPLERS.register_module()
class BatchShareSampler(AspectRatioBatchSampler):  # type: ignore[misc]
    """Yields the share of this process of each batch: indices of images, each with a seed.

    batch_size: number of images of all processes. They divide a batch evenly.
    seed: the seed of an image depends on it, on the number of the batch, and on the place in the batch.
    done: number of batches that are left out at the beginning.
    """

    def __init__(self, sampler: Sampler[int], batch_size: int, seed: int, done: int = 0) -> None:
        super().__init__(sampler, batch_size)
        self.seed = seed
        self.done = done

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the shares. A single process gets complete batches."""
        rank, processes = get_dist_info()
        for number, batch in enumerate(islice(super().__iter__(), self.done, None), self.done):
            seeds = np.random.SeedSequence([self.seed, number]).generate_state(len(batch))
            yield list(zip(batch, seeds.tolist(), strict=True))[rank::processes]


@DATASETS.register_module()
class SeededImages(Dataset[Any]):
    """A data set of mmengine whose images have a `seed`. An item is an index with a seed.

    dataset: its config.
    """

    def __init__(self, dataset: dict[str, Any]) -> None:
        self._images = DATASETS.build(dataset)
        self.metainfo = self._images.metainfo

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._images)

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Return what is known of an image before it is read."""
        info: dict[str, Any] = self._images.get_data_info(index)
        return info

    def __getitem__(self, item: tuple[int, int]) -> Any:
        """Read and change an image."""
        index, seed = item
        return self._images.pipeline({**self.get_data_info(index), "seed": seed})
