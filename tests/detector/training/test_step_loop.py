"""Which images each step sees: the same in one process, in several, and after a kill."""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest

from al_loop.detector.training import step_loop
from al_loop.detector.training.sampling import EndlessSampler
from al_loop.detector.training.step_loop import BatchShareSampler


class Images:
    """Portrait and landscape pictures in turn."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def get_data_info(self, index: int) -> dict[str, int]:
        return {"width": 1 + index % 2, "height": 2 - index % 2}


def seeded(images: int, size: int, steps: int, seed: int = 0, done: int = 0) -> list[list[tuple[int, int]]]:
    dataset: Any = Images(images)
    sampler = EndlessSampler(dataset, seed, np.ones(images))
    return list(islice(BatchShareSampler(sampler, size, seed, done), steps))


def batches(images: int, size: int, steps: int) -> list[list[int]]:
    return [[index for index, _ in batch] for batch in seeded(images, size, steps)]


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("images", [1, 2, 3, 25, 130])
def test_every_step_is_full_and_images_occur_equally_often(images: int, size: int) -> None:
    drawn = batches(images, size, 400)
    assert {len(batch) for batch in drawn} == {size}
    assert all(len({index % 2 for index in batch}) == 1 for batch in drawn)  # of one orientation
    seen = Counter(chain.from_iterable(drawn))
    assert len(seen) == min(images, 400 * size)
    # The batches that are not full yet hold less than two batches.
    assert max(seen.values()) - min(seen.values()) <= 1 + 2 * size / images


def test_a_resumed_training_continues_with_the_next_batch_and_its_seeds() -> None:
    whole = seeded(25, 4, 30)
    for done in (1, 7, 29):
        assert seeded(25, 4, 30 - done, done=done) == whole[done:]
    assert seeded(25, 4, 30, seed=1) != whole
    assert len({seed for batch in whole for _, seed in batch}) == 4 * 30


def test_processes_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = seeded(25, 4, 9)
    for rank in range(2):
        monkeypatch.setattr(step_loop, "get_dist_info", lambda rank=rank: (rank, 2))
        assert seeded(25, 4, 9) == [batch[rank::2] for batch in whole]
