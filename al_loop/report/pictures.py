"""Thumbnails as data URIs, and where boxes and their tags are drawn on them.

Boxes are drawn in SVG over the picture, in pixels of the image on disk (origin top-left): crisp at any
size, and the same thumbnail serves the predicted and the corrected boxes.
"""

from __future__ import annotations

import base64
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from al_loop.core.errors import DataError
from al_loop.images.decode import read_picture
from al_loop.images.object_cache import changed_files
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile

LONGEST_SIDE_PX = 360
JPEG_QUALITY = 75

# A tag's letters, as a share of the image's longer side: about 11 px at the size the page shows it.
_LETTERS = 0.042
_ADVANCE = 0.62  # width of a monospaced letter, in units of its size
_LEADING = 1.3


@dataclass(frozen=True)
class Rect:
    """A rectangle in image pixels."""

    x: float
    y: float
    width: float
    height: float

    def shared_area(self, other: Rect) -> float:
        """Return the area that two rectangles have in common."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return max(0.0, width) * max(0.0, height)


@dataclass(frozen=True)
class DrawnBox:
    """A box and its tag, ready for SVG; letters_px is the tag's letter size."""

    box: Rect
    tag: Rect
    text: str
    letters_px: float


def stored_thumbnail(image: ImageFile) -> str | None:
    """Return the thumbnail of a photograph of the workspace; None also where its file is not what was stored."""
    return None if changed_files([image]) else thumbnail(image.path)


def thumbnail(path: Path) -> str | None:
    """Return a small JPEG of an image as a data URI; None when it is missing or damaged."""
    buffer = io.BytesIO()
    try:
        # Reduced by less than the whole, so that the edges of what is left stay smooth.
        picture = read_picture(path, turn=False, least_px=2 * LONGEST_SIDE_PX)
    except DataError:
        return None
    image = Image.fromarray(np.ascontiguousarray(picture[..., ::-1]))
    image.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX))
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def box_texts(boxes: Boxes, classes: Sequence[str]) -> list[str]:
    """Return what to write at each box: its class, and the model's score where there is one."""
    names = [classes[i] if 0 <= i < len(classes) else f"class {i}" for i in boxes.labels.tolist()]
    if boxes.scores is None:
        return names
    return [f"{name} {score:.2f}" for name, score in zip(names, boxes.scores.tolist(), strict=True)]


def draw_boxes(boxes: Boxes, classes: Sequence[str], width: int, height: int) -> list[DrawnBox]:
    """Lay out the boxes of an image of that size, each with a tag where it hides least of the others."""
    # Many boxes get smaller tags: they would cover what they name.
    letters = _LETTERS * max(width, height) * min(1.0, max(0.7, (8 / max(1, len(boxes))) ** 0.5))
    rects = [Rect(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes.xyxy.tolist()]
    drawn: list[DrawnBox] = []
    for number, (box, text) in enumerate(zip(rects, box_texts(boxes, classes), strict=True)):
        others = rects[:number] + rects[number + 1 :]
        # A tag on a tag reads as neither: worse than a tag on an object.
        hidden = [(other, 1.0) for other in others] + [(earlier.tag, 3.0) for earlier in drawn]
        tag = min(
            _tag_places(box, text, letters, width, height),
            key=lambda place: sum(weight * place.shared_area(other) for other, weight in hidden),
        )
        drawn.append(DrawnBox(box, tag, text, letters))
    return drawn


def _tag_places(box: Rect, text: str, letters: float, width: int, height: int) -> list[Rect]:
    """Return where a tag may go, best first: on the box, under it, inside at its top; never off the image."""
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
