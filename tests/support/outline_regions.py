"""Polygons and brush strokes as the labelling page sends them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from al_loop.labelling.tasks.regions import ImageSize

SIZE = ImageSize(200, 100)
TRIANGLE = [[10.0, 10.0], [50.0, 10.0], [50.0, 60.0]]  # percent: (20, 10), (100, 10), (100, 60) px

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="label_studio_sdk")
    from label_studio_sdk.converter.brush import mask2rle


def shape(kind: str, value: dict[str, Any], size: ImageSize = SIZE, **changes: Any) -> dict[str, Any]:
    """A region as the browser sends it."""
    return {
        "id": kind, "type": kind, "from_name": kind.removesuffix("labels"), "to_name": "image",
        "image_rotation": 0, "original_width": size.width, "original_height": size.height,
        "value": {kind: ["one"], **value}, **changes,
    }  # fmt: skip


def polygon(points: Any = TRIANGLE, **value: Any) -> dict[str, Any]:
    return shape("polygonlabels", {"points": points, "closed": True, **value})


def painted(pixels: np.ndarray, **value: Any) -> dict[str, Any]:
    """What the brush has painted: pixels (h, w) of 0 to 255."""
    height, width = pixels.shape
    made = {"format": "rle", "rle": mask2rle(pixels.astype(np.uint8)), **value}
    return shape("brushlabels", made, ImageSize(width, height))


def block(size: ImageSize = SIZE) -> np.ndarray:
    pixels = np.zeros((size.height, size.width), np.uint8)
    pixels[20:40, 30:70] = 255
    pixels[30:40, 30:40] = 0
    return pixels
