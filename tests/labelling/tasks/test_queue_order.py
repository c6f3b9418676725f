"""The order of a queue, worked out by hand."""

from __future__ import annotations

import numpy as np

from al_loop.labelling.tasks.queue_order import places
from al_loop.structures.boxes import Boxes


def boxes(*labels: int) -> Boxes:
    return Boxes(np.tile([0.0, 0, 9, 9], (len(labels), 1)), np.array(labels, np.int64))


#: Classes 1, none, 0 (a draw with 1), 1, 0.
SEEN = [boxes(1, 1, 0), Boxes(), boxes(0, 1), boxes(1), boxes(0)]


def test_the_most_uncertain_first() -> None:
    assert places("uncertainty", [3, 0, 4, 1, 2], SEEN) == [3, 0, 4, 1, 2]


def test_images_of_a_class_together() -> None:
    # No class from rank 0, class 1 from rank 1, class 0 from rank 2.
    assert places("class", [3, 0, 4, 1, 2], SEEN) == [2, 0, 4, 1, 3]
    assert places("class", [13, 10, 14, 11, 12], SEEN) == [2, 0, 4, 1, 3]  # ranks after a validation sample
    assert places("class", [], []) == []
