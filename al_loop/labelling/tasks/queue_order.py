"""The order in which people see the images of a cycle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from al_loop.structures.boxes import Boxes

#: The most uncertain image first; or images of one class together, which is quicker to label.
QueueOrder = Literal["uncertainty", "class"]


def places(order: QueueOrder, ranks: Sequence[int], boxes: Sequence[Boxes]) -> list[int]:
    """Return the place of each image in the queue, lowest first.

    ranks: of the images by uncertainty, the most uncertain has the lowest.
    boxes: of the model, on each image.
    With "class", the class of an image is that of most of its boxes, of equally many the first class. The
    classes come in the order of their most uncertain image, and the images of a class in that of their ranks.
    """
    if order == "uncertainty":
        return list(ranks)
    classes = [int(np.bincount(item.labels).argmax()) if len(item) else -1 for item in boxes]
    first = dict[int, int]()
    for rank, name in zip(ranks, classes, strict=True):
        first[name] = min(rank, first.get(name, rank))
    keys = [(first[name], rank) for rank, name in zip(ranks, classes, strict=True)]
    sorted_keys = sorted(keys)
    return [sorted_keys.index(key) for key in keys]
