"""A box to verify, its picture, and the answer."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from PIL import Image, ImageDraw

from al_loop.images.decode import read_picture
from al_loop.images.object_cache import local_copy
from al_loop.state.database.verdict_table import Verdict
from al_loop.structures.images import ImageFile

#: Longer side of a picture, px.
SIDE_PX = 240
#: Width of what is shown around a box on each side, as a share of its longer side.
_CONTEXT = 0.6
_LEAST_CONTEXT_PX = 12.0
_JPEG_QUALITY = 85
_LINE_PX = 2


@dataclass(frozen=True)
class Question:
    """A box of the model. box: xyxy in px of the image. label: class index. score: of the model."""

    image: ImageFile
    box: tuple[float, ...]
    label: int
    score: float


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person says of a box. label: index of the class that it has, if the verdict is "class"."""

    verdict: Verdict
    seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)]
    label: Annotated[int, msgspec.Meta(ge=0)] | None = None


def picture_of(question: Question) -> bytes:
    """Return a JPEG of the box and its surroundings, with the box drawn. Raises DataError for a lost file."""
    x1, y1, x2, y2 = question.box
    margin = max(_CONTEXT * max(x2 - x1, y2 - y1), _LEAST_CONTEXT_PX)
    image = question.image
    local_copy(image)
    left, top = max(0, int(x1 - margin)), max(0, int(y1 - margin))
    right, bottom = min(image.width, int(x2 + margin) + 1), min(image.height, int(y2 + margin) + 1)
    pixels = read_picture(image.path, turn=False)[top:bottom, left:right, ::-1]
    crop = Image.fromarray(np.ascontiguousarray(pixels))
    scale = SIDE_PX / max(crop.size)
    crop = crop.resize((max(1, round(crop.width * scale)), max(1, round(crop.height * scale))))
    corners = [(x1 - left) * scale, (y1 - top) * scale, (x2 - left) * scale, (y2 - top) * scale]
    pen = ImageDraw.Draw(crop)
    for grow, colour in ((_LINE_PX, "black"), (0, "white")):  # seen on bright and on dark parts
        wide = [corners[0] - grow, corners[1] - grow, corners[2] + grow, corners[3] + grow]
        pen.rectangle(wide, outline=colour, width=_LINE_PX)
    buffer = io.BytesIO()
    crop.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()
