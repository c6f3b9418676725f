"""Images with what is known or predicted of them, as plain data: what the detector takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from al_loop.structures.boxes import Boxes

Float32Array = NDArray[np.float32]

#: Names of the changed copies of an image, made by `al_loop.detector.inference.tta`.
AUGMENTATIONS = ("flip", "cutout", "smaller", "turn", "noise")


@dataclass(frozen=True)
class ImageFile:
    """An image on disk. `id` is its SHA-256 in the workspace; width and height are in pixels.

    url: of an image that stays in an object store; `path` is then where `al_loop.images.object_cache.local_copy` puts it.
    sha256: of the bytes of the file, as they were stored; None where nobody has noted it.
    """

    id: str
    path: Path
    width: int
    height: int
    url: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image and its true boxes; none means that there is nothing to find.

    ignored: regions where objects are not to be learnt, and neither right nor wrong to find.
    """

    image: ImageFile
    boxes: Boxes
    ignored: Boxes = field(default_factory=Boxes)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one forward pass says of one image.

    boxes: kept after NMS, in pixels of the image on disk, with scores, best first.
    distributions: (n, C + 1) softmax of each kept box, background last, rows summing to 1.
    embedding: (d,) global average of the FPN's P2 map.
    features: (n, r) what the classifier sees of each kept box; None where nobody asked for it.
    """

    image_id: str
    boxes: Boxes
    distributions: Float32Array
    embedding: Float32Array
    features: Float32Array | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        if self.distributions.ndim != 2 or len(self.distributions) != len(self.boxes):
            raise ValueError(
                f"distributions must have shape ({len(self.boxes)}, classes + 1) to match the boxes, "
                f"got {self.distributions.shape}"
            )


def total_boxes(labelled: Sequence[LabelledImage]) -> int:
    """Return the number of true boxes of a set."""
    return sum(len(item.boxes) for item in labelled)


def total_regions(labelled: Sequence[LabelledImage]) -> int:
    """Return the number of ignore regions of a set."""
    return sum(len(item.ignored) for item in labelled)
