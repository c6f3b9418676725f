"""Several processes together draw the images and the augmentations of one process."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from al_loop.detector.training.ddp import balanced_subset, batch_share
from al_loop.detector.transforms import Augment


def test_shares_are_the_batch() -> None:
    batch = [5, 3, 8, 1]
    assert batch_share(batch, 0, 1) == batch
    assert [batch_share(batch, rank, 2) for rank in range(2)] == [[5, 8], [3, 1]]
    # Three images for two processes: the first occurs twice, so that both have as many.
    assert [batch_share(batch[:3], rank, 2) for rank in range(2)] == [[5, 8], [3, 5]]
    assert [batch_share(batch[:1], rank, 3) for rank in range(3)] == [[5], [5], [5]]


def test_a_subset_holds_each_image_as_often_or_once_more() -> None:
    order = [5, 0, 4, 1, 3, 2]
    assert balanced_subset(order, 3, 6) == order
    assert balanced_subset(order, 3, 4) == [5, 0, 1, 2]  # each once, and the first of the second copies
    assert balanced_subset(order, 3, 2) == [0, 1]


def test_augmentations_do_not_depend_on_the_number_of_processes() -> None:
    from mmdet.structures.bbox import HorizontalBoxes  # after al_loop.detector, which provides its operators

    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)

    def augmented(count: int, **share: int) -> list[Any]:
        np.random.seed(3)
        augment = Augment(**share)
        return [
            augment.transform(
                {
                    "img": picture,
                    "gt_bboxes": HorizontalBoxes(torch.tensor([[10.0, 10, 50, 40]])),
                    "gt_bboxes_labels": np.zeros(1, dtype=np.int64),
                    "gt_ignore_flags": np.zeros(1, dtype=bool),
                }
            )["img"]
            for _ in range(count)
        ]

    alone = augmented(6)
    for rank in range(2):
        for expected, actual in zip(alone[rank::2], augmented(3, rank=rank, processes=2), strict=True):
            assert np.array_equal(expected, actual)
    assert not np.array_equal(alone[0], alone[1])
