"""Labelled pictures of discs and triangles with outlines: shapes that their boxes do not tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from al_loop.structures.boxes import Boxes, Outline
from al_loop.structures.images import ImageFile, LabelledImage
from al_loop.structures.segmentation import hull, mask, pixels, polygon

SIZE = (96, 64)  # width, height


def outlined_set(
    folder: Path, count: int, seed: int, size: tuple[int, int] = SIZE, without: float = 0.0
) -> list[LabelledImage]:
    """Write pictures with a disc (class 0, a mask) and a triangle (class 1, a polygon) of random size.

    without: share of the boxes that have no outline.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    return [_picture(folder / f"{seed}-{number:03d}.png", rng, size, without) for number in range(count)]


def _picture(path: Path, rng: np.random.Generator, size: tuple[int, int], without: float) -> LabelledImage:
    width, height = size
    picture = rng.integers(60, 90, (height, width, 3)).astype(np.uint8)
    radius, side = rng.uniform(0.12, 0.2) * height, rng.uniform(0.3, 0.45) * height
    centre = rng.uniform([radius + 1, radius + 1], [width / 2 - radius - 1, height - radius - 1])
    corner = rng.uniform([width / 2 + 1, 1], [width - side - 1, height - side - 1])
    triangle = corner + side * np.array([[0.0, 1], [1, 1], [0.1, 0]])
    y, x = np.mgrid[:height, :width] + 0.5
    disc = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2
    picture[disc] = (230, 200, 40)
    drawn: list[Outline] = [mask(disc), polygon(triangle)]
    picture[pixels(drawn[1], *size)] = (40, 200, 230)
    cv2.imwrite(str(path), picture)
    outlines = tuple(None if rng.random() < without else outline for outline in drawn)
    xyxy = np.stack([hull(outline) for outline in drawn])
    boxes = Boxes(xyxy, np.arange(2), outlines=outlines if any(outlines) else None)
    return LabelledImage(ImageFile(path.stem, path, width, height), boxes)


def mask_ious(truth: Sequence[LabelledImage], predicted: dict[str, Boxes]) -> list[float]:
    """Return the largest IoU of each true outline with the predicted ones of its class; 0 without any."""
    ious = []
    for item in truth:
        size, boxes = (item.image.width, item.image.height), predicted[item.image.id]
        for label, outline in zip(item.boxes.labels, item.boxes.outlines or (), strict=True):
            assert outline is not None
            found = [
                pixels(other, *size)
                for other, kind in zip(boxes.outlines or (), boxes.labels, strict=False)
                if kind == label and other is not None
            ]
            real = pixels(outline, *size)
            ious.append(max(((real & other).sum() / (real | other).sum() for other in found), default=0.0))
    return ious
