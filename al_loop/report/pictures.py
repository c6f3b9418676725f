"""Thumbnails as data URIs, and the layout of boxes and their tags.

Boxes are drawn in SVG over the picture, in pixels of the image on disk (origin top-left): sharp at any size,
and one thumbnail serves the predicted and the corrected boxes.
"""

from __future__ import annotations

import base64
import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from al_loop.core.errors import DataError
from al_loop.images.decode import read_picture
from al_loop.images.object_cache import changed_files
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile

LONGEST_SIDE_PX = 360
JPEG_QUALITY = 75

# Font size of a tag, as a share of the image's longer side: about 11 px at the size the page shows it.
_LETTERS = 0.042
_ADVANCE = 0.62  # width of a monospaced letter, in units of its size
_LEADING = 1.3


class Rect(NamedTuple):
    """A rectangle in image pixels."""

    x: float
    y: float
    width: float
    height: float

    def shared_area(self, other: Rect) -> float:
        """Return the area of the intersection."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return max(0.0, width) * max(0.0, height)


class DrawnBox(NamedTuple):
    """A box and its tag. letters_px: font size of the tag."""

    box: Rect
    tag: Rect
    text: str
    letters_px: float


def stored_thumbnail(image: ImageFile) -> str | None:
    """Return the thumbnail of a stored photograph; None where its file is missing or changed."""
    return None if changed_files([image]) else thumbnail(image.path)


def thumbnail(path: Path) -> str | None:
    """Return a small JPEG of an image as a data URI; None where it is missing or damaged."""
    buffer = io.BytesIO()
    try:
        # Decoded at twice the size, so that edges stay smooth.
        picture = read_picture(path, turn=False, least_px=2 * LONGEST_SIDE_PX)
    except DataError:
        return None
    image = Image.fromarray(np.ascontiguousarray(picture[..., ::-1]))
    image.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX))
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def draw_boxes(boxes: Boxes, classes: Sequence[str], width: int, height: int) -> list[DrawnBox]:
    """Lay out the boxes of an image, each with a tag where it covers least of the others."""
    texts = [classes[i] if 0 <= i < len(classes) else f"class {i}" for i in boxes.labels.tolist()]
    if boxes.scores is not None:
        texts = [f"{name} {score:.2f}" for name, score in zip(texts, boxes.scores.tolist(), strict=True)]
    # Many boxes get smaller tags.
    letters = _LETTERS * max(width, height) * min(1.0, max(0.7, (8 / max(1, len(boxes))) ** 0.5))
    rects = [Rect(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes.xyxy.tolist()]
    drawn: list[DrawnBox] = []
    for number, (box, text) in enumerate(zip(rects, texts, strict=True)):
        others = rects[:number] + rects[number + 1 :]
        # A tag on a tag is worse than a tag on an object.
        hidden = [(other, 1.0) for other in others] + [(earlier.tag, 3.0) for earlier in drawn]
        tag = min(
            _tag_places(box, text, letters, width, height),
            key=lambda place: sum(weight * place.shared_area(other) for other, weight in hidden),
        )
        drawn.append(DrawnBox(box, tag, text, letters))
    return drawn


def _tag_places(box: Rect, text: str, letters: float, width: int, height: int) -> list[Rect]:
    """Return possible places of a tag, best first: above the box, below, inside; all within the image."""
    columns = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
    tag_width, tag_height = (columns * _ADVANCE + 0.5) * letters, _LEADING * letters
    left = max(0.0, min(box.x, width - tag_width))
    right = max(0.0, min(box.x + box.width - tag_width, width - tag_width))
    bottom = box.y + box.height
    tops = [box.y - tag_height, bottom, box.y, bottom - tag_height]
    return [
        Rect(x, max(0.0, min(y, height - tag_height)), tag_width, tag_height)
        for y in tops
        for x in (left, right)
    ]
