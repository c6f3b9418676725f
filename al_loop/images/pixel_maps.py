"""Pixel maps: a PNG image of class ids for each photograph, for models of semantic segmentation."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from al_loop.core.errors import DataError
from al_loop.core.files import write_atomically
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile

#: Value of pixels that are neither background nor of a known class: those of ignore regions, and of labelled
#: boxes without an outline.
IGNORED = 255
#: Names of the values, in the folder of the maps.
NAMES = "classes.json"


def write_maps(folder: Path, items: Iterable[tuple[ImageFile, Boxes, Boxes]], classes: Sequence[str]) -> int:
    """Write ID.png for each image, and the names of the values. Return the number of images.

    items: images with their boxes and ignore regions.
    Raises DataError if the folder is not empty or cannot be written, or for too many classes.
    """
    if len(classes) >= IGNORED:
        raise DataError(f"expected at most {IGNORED - 1} classes in a map of 8 bits, got {len(classes)}")
    palette, count = _palette(len(classes)), 0
    try:
        if folder.exists() and any(folder.iterdir()):
            raise DataError(f"{folder} is not empty: choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        names = {0: "background", **dict(enumerate(classes, start=1)), IGNORED: "ignored"}
        write_atomically(folder / NAMES, json.dumps(names, ensure_ascii=False, indent=2).encode())
        for image, boxes, ignored in items:
            data = _png(pixel_map(boxes, ignored, image.width, image.height), palette)
            write_atomically(folder / f"{image.id}.png", data)
            count += 1
    except OSError as error:
        raise DataError(f"the maps cannot be written to {folder}: {error}") from None
    return count


def pixel_map(boxes: Boxes, ignored: Boxes, width: int, height: int) -> NDArray[np.uint8]:
    """Return the values of the pixels of an image, (h, w): 0 background, 1 the first class, 255 ignored.

    Of several predictions at a pixel, that of the highest score counts, and of several labels the smallest.
    """
    predicted = boxes.scores is not None
    if not predicted:
        areas = [0.0 if each is None else -segmentation.area(each) for each in boxes.outlines or ()]
        boxes = replace(boxes, scores=np.array(areas) if areas else None)
    values = (segmentation.class_map(boxes, width, height) + 1).astype(np.uint8)
    drawn = np.array([each is not None for each in boxes.outlines or (None,) * len(boxes)], np.bool_)
    unknown = boxes.xyxy[:0] if predicted else boxes.xyxy[~drawn]
    regions = [segmentation.rectangle(box, width, height) for box in [*unknown, *ignored.xyxy]]
    values[segmentation.union(regions, width, height) & (values == 0)] = IGNORED
    return values


def _palette(classes: int) -> NDArray[np.uint8]:
    """Return the colours of the values, (256, 3) RGB: black background, white where ignored."""
    from render.annotation.masks import colours  # imports OpenCV

    palette = np.zeros((256, 3), np.uint8)
    palette[1 : classes + 1] = colours(classes)
    palette[IGNORED] = 255
    return palette


def _png(values: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    picture, buffer = Image.fromarray(values, "P"), io.BytesIO()
    picture.putpalette(palette.tobytes())
    picture.save(buffer, "PNG")
    return buffer.getvalue()
