"""Pictures with the boxes and outlines of a model drawn on them."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from al_loop.images.decode import decode_picture
from al_loop.structures.boxes import Boxes, Outline
from al_loop.structures.segmentation import pixels

Pixels = NDArray[np.uint8]

_HUE_STEP = 0.381966  # of a full turn, between adjacent classes
#: Width of lines and height of letters, as shares of the longer side; their least sizes in px.
_LINE, _LETTERS = 1 / 400, 1 / 45
_LEAST_LINE_PX, _LEAST_LETTERS_PX = 2, 11
_FILL = 0.35  # opacity of masks


def overlay(data: bytes, boxes: Boxes, classes: Sequence[str]) -> Image.Image:
    """Return an image with its boxes, each with the name of its class and its score.

    data: of the image, which is not rotated. Raises DataError if it cannot be decoded.
    boxes: with scores. Outlines are filled.
    """
    picture = np.ascontiguousarray(decode_picture(data, turn=False).pixels[..., ::-1])
    height, width = picture.shape[:2]
    for outline, label in zip(boxes.outlines or (), boxes.labels.tolist(), strict=False):
        if outline is not None:
            picture = _filled(picture, outline, _colour(label))
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    longer = max(width, height)
    line = max(_LEAST_LINE_PX, round(longer * _LINE))
    font = ImageFont.load_default(max(_LEAST_LETTERS_PX, round(longer * _LETTERS)))
    scores = np.ones(len(boxes)) if boxes.scores is None else boxes.scores
    rows = list(zip(boxes.xyxy.tolist(), boxes.labels.tolist(), scores.tolist(), strict=True))
    for box, label, _ in rows:
        pen.rectangle(box, outline=_colour(label), width=line)
    for (left, top, _, bottom), label, score in rows:  # above all lines
        text = f"{classes[label]} {score:.2f}"
        _, _, wide, high = pen.textbbox((0, 0), text, font=font)
        x = min(left, max(0, width - wide - 2 * line))
        y = top - high - 2 * line if top >= high + 2 * line else min(bottom, height - high - 2 * line)
        pen.rectangle((x, y, x + wide + 2 * line, y + high + 2 * line), fill=_colour(label))
        pen.text((x + line, y + line), text, fill="white", font=font)
    return image


def _filled(picture: Pixels, outline: Outline, colour: tuple[int, int, int]) -> Pixels:
    """Return a picture with the pixels of an outline in a colour."""
    inside = pixels(outline, picture.shape[1], picture.shape[0])
    mixed = picture.astype(np.float32)
    mixed[inside] = (1 - _FILL) * mixed[inside] + _FILL * np.asarray(colour, np.float32)
    return mixed.round().astype(np.uint8)


def _colour(label: int) -> tuple[int, int, int]:
    """Return the colour of a class: dark enough for white letters."""
    red, green, blue = colorsys.hls_to_rgb(label * _HUE_STEP % 1.0, 0.38, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)
