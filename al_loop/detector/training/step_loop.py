"""The training loop: a number of steps, and the images of each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS, LOOPS
from mmengine.runner import IterBasedTrainLoop, set_random_seed
from torch.utils.data import Sampler


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
    """Yields the share of this process of each batch. batch_size counts the images of all processes.

    done: number of batches that are left out at the beginning.
    """

    def __init__(self, sampler: Sampler[int], batch_size: int, done: int = 0) -> None:
        super().__init__(sampler, batch_size)
        self.done = done

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the shares. A single process gets complete batches."""
        rank, processes = get_dist_info()
        for batch in islice(super().__iter__(), self.done, None):
            yield batch_share(batch, rank, processes)


def batch_share(batch: Sequence[int], rank: int, processes: int) -> list[int]:
    """Return the part of a batch for one process. The processes divide a batch evenly."""
    return list(batch[rank::processes])
