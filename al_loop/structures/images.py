"""Images, labelled images and predictions: inputs and outputs of the detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from al_loop.structures.boxes import Boxes
from al_loop.structures.masks import SIDE

Float32Array = NDArray[np.float32]

#: Names of the augmentations of an image, made by `al_loop.detector.inference.tta`.
AUGMENTATIONS = ("flip", "cutout", "smaller", "turn", "noise")


@dataclass(frozen=True)
class ImageFile:
    """An image on disk. `id` is its SHA-256 in the workspace; width and height are in pixels.

    url: URL of an image that stays in an object store. `al_loop.images.object_cache.local_copy` then writes
        it to `path`.
    sha256: hash of the stored bytes. None if it was not recorded.
    """

    id: str
    path: Path
    width: int
    height: int
    url: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image and its labelled boxes, none for an empty image.

    ignored: regions that count neither in training nor in evaluation.
    """

    image: ImageFile
    boxes: Boxes
    ignored: Boxes = field(default_factory=Boxes)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Output of one forward pass for one image.

    boxes: boxes after NMS, in pixels of the image on disk, with scores, best first.
    distributions: (n, C + 1) softmax of each kept box, background last, rows summing to 1.
    embedding: (d,) global average of the FPN's P2 map.
    maxima: (d,) global maximum of the FPN's P2 map. None of augmented images.
    features: (n, r) input of the classifier for each box. None if not requested.
    masks: (n, SIDE²) of 255, probability of the object in each cell of a grid inside each box, row by row
        (`al_loop.structures.masks`). None if not requested, or if the model predicts none.
    """

    image_id: str
    boxes: Boxes
    distributions: Float32Array
    embedding: Float32Array
    features: Float32Array | None = None
    masks: NDArray[np.uint8] | None = None
    maxima: Float32Array | None = None

    def __post_init__(self) -> None:
        """Check the shapes of the arrays."""
        if self.distributions.ndim != 2 or len(self.distributions) != len(self.boxes):
            raise ValueError(
                f"distributions must have shape ({len(self.boxes)}, classes + 1) to match the boxes, "
                f"got {self.distributions.shape}"
            )
        if self.masks is not None and self.masks.shape != (len(self.boxes), SIDE**2):
            raise ValueError(
                f"masks must have shape ({len(self.boxes)}, {SIDE**2}) to match the boxes, "
                f"got {self.masks.shape}"
            )


def total_boxes(labelled: Sequence[LabelledImage]) -> int:
    """Return the number of boxes of a set."""
    return sum(len(item.boxes) for item in labelled)


def total_outlines(labelled: Sequence[LabelledImage]) -> int:
    """Return the number of boxes of a set that have an outline."""
    return sum(int(item.boxes.outlined.sum()) for item in labelled)


def total_regions(labelled: Sequence[LabelledImage]) -> int:
    """Return the number of ignore regions of a set."""
    return sum(len(item.ignored) for item in labelled)
