"""Several processes together draw the images of one process."""

from __future__ import annotations

from al_loop.detector.training.ddp import balanced_subset, batch_share


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
