"""The order in which people see the images of a cycle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from al_loop.core.config import QueueOrder
from al_loop.structures.boxes import Boxes


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
    order_of_images = np.lexsort((ranks, [first[name] for name in classes]))
    return [int(place) for place in np.argsort(order_of_images)]
