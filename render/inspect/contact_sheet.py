"""Draws a contact sheet: images in a grid with boxes, names and mask contours, in one small JPEG."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from render.annotation import masks
from render.coco import LabelledSet, Picture
from render.core.errors import PictureError
from render.pixels.decode import read_picture

#: Largest size of a sheet in bytes: small enough to be committed or sent.
LIMIT_BYTES = 200_000
_CELL_PX = 320
_GAP_PX = 6
_TAG_PX, _LEGEND_PX, _LEGEND_ROW_PX = 10, 13, 20
_TOP_PX = 26
_PAPER, _INK, _FAINT = (250, 250, 250), (20, 20, 20), (120, 120, 120)
Colour = tuple[int, ...]


@dataclass(frozen=True)
class Cell:
    """One cell of the grid: an image of the set, or a note on why there is none."""

    caption: str
    picture: int | None = None
    note: str = ""


def contact_sheet(data: LabelledSet, cells: Sequence[Cell], title: str) -> Image.Image:
    """Draw the cells row by row, under a title and over a legend of the categories with their counts."""
    width, height = _cell_size([data.pictures[cell.picture] for cell in cells if cell.picture is not None])
    columns = max(1, min(len(cells), round(math.sqrt(len(cells) * 4 / 3 * height / width))))
    sheet_width = max(columns * (width + _GAP_PX) + _GAP_PX, 480)
    bottom = _TOP_PX + -(-len(cells) // columns) * (height + _GAP_PX)
    legend = _legend(data, cells, sheet_width)
    foot = 8 + _LEGEND_ROW_PX + max((y for _, _, _, y in legend), default=0)
    sheet = Image.new("RGB", (sheet_width, bottom + foot), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP_PX, 5), title, _INK, _font(_LEGEND_PX))
    for number, cell in enumerate(cells):
        left = _GAP_PX + number % columns * (width + _GAP_PX)
        sheet.paste(
            _draw_cell(data, cell, width, height), (left, _TOP_PX + number // columns * (height + _GAP_PX))
        )
    for category, text, x, y in legend:
        draw.rectangle((x, bottom + y + 7, x + 12, bottom + y + 19), colour_of(category))
        draw.text((x + 17, bottom + y + 4), text, _INK, _font(_LEGEND_PX))
    return sheet


def to_jpeg(sheet: Image.Image) -> bytes:
    """Encode within LIMIT_BYTES: reduce first the quality, then the size."""
    while True:
        for quality in (90, 82, 74, 66):
            buffer = io.BytesIO()
            sheet.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= LIMIT_BYTES or min(sheet.size) < 64:
                return buffer.getvalue()
        sheet = sheet.resize(
            (round(sheet.width * 0.85), round(sheet.height * 0.85)), Image.Resampling.LANCZOS
        )


def colour_of(category: int) -> Colour:
    """Return the colour of a category; all categories have different colours."""
    return tuple(masks.colours(category + 1)[category].tolist())


def _cell_size(pictures: Sequence[Picture]) -> tuple[int, int]:
    """Return the size of a cell in px: the aspect of the first image, with a longest side of _CELL_PX."""
    if not pictures:
        return _CELL_PX, _CELL_PX * 3 // 4
    width, height = pictures[0].width, pictures[0].height
    scale = _CELL_PX / max(width, height)
    return max(32, round(width * scale)), max(32, round(height * scale))


def _draw_cell(data: LabelledSet, cell: Cell, width: int, height: int) -> Image.Image:
    picture = None if cell.picture is None else data.pictures[cell.picture]
    shown = cell.note if picture is None else _read_or_reason(picture)
    if picture is None or isinstance(shown, str):
        blank = Image.new("RGB", (width, height), (235, 235, 235))
        letters = max(8, int((width - 12) / _font(_TAG_PX).getlength("n")))
        lines = [part for line in (cell.caption, shown) for part in textwrap.wrap(str(line), letters)]
        ImageDraw.Draw(blank).multiline_text((6, 6), "\n".join(lines[:12]), _FAINT, _font(_TAG_PX))
        return blank
    scale = min(width / picture.width, height / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    pixels = np.array(shown.resize(size, Image.Resampling.LANCZOS))
    labels = np.flatnonzero(data.image == cell.picture)
    for i in labels:
        _draw_outline(pixels, data.outlines[i], picture, colour_of(int(data.category[i])))
    image = Image.fromarray(pixels)
    draw, tags = ImageDraw.Draw(image), _Tags(image)
    boxes = data.bbox * scale
    for i in labels:
        x, y, w, h = boxes[i]
        # Draw the line around the labelled pixels, not over them.
        left, top = max(0.0, x - 1), max(0.0, y - 1)
        right, bottom = max(left, min(size[0] - 1.0, x + w)), max(top, min(size[1] - 1.0, y + h))
        draw.rectangle((left, top, right, bottom), outline=colour_of(int(data.category[i])))
    tags.add([(4, size[1] - 18)], cell.caption, (60, 60, 60))
    for i in sorted(labels, key=lambda i: -float(data.bbox[i, 2:].prod())):
        name, (x, y, w, h) = data.categories[data.category[i]], boxes[i]
        length = _font(_TAG_PX).getlength(name) + 4
        above, below, right = y - 14, y + h, x + w - length
        places = [(x, above), (x, below), (right, above), (right, below), (x + w, y), (x - length, y)]
        tags.add(places, name, colour_of(int(data.category[i])))
    sheet_cell = Image.new("RGB", (width, height), _PAPER)
    sheet_cell.paste(image)
    return sheet_cell


def _read_or_reason(picture: Picture) -> Image.Image | str:
    """Return an image, or the reason why it cannot be shown."""
    if picture.path is None:
        return "no such file"
    try:
        shown = Image.fromarray(np.ascontiguousarray(read_picture(picture.path)[..., ::-1]))
    except PictureError as error:
        return str(error)
    if shown.size != (picture.width, picture.height):  # the boxes do not belong to this image
        return f"is {shown.width}x{shown.height} px upright, not {picture.width}x{picture.height}"
    return shown


def _draw_outline(pixels: NDArray[np.uint8], segmentation: Any, picture: Picture, colour: Colour) -> None:
    if segmentation is None:
        return
    import cv2

    try:
        mask = masks.of_segmentation(segmentation, picture.height, picture.width)
    except ValueError:  # a mask of another size, from another tool: draw the box alone
        return
    larger = cv2.resize(mask.astype(np.uint8), pixels.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(larger, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(pixels, contours, -1, colour)


@dataclass
class _Tags:
    """Writes names on an image without overlap."""

    image: Image.Image
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def add(self, places: Sequence[tuple[float, float]], text: str, colour: Colour) -> None:
        """Write a name at the first free place inside the image; leave it out if there is none."""
        draw, font = ImageDraw.Draw(self.image), _font(_TAG_PX)
        dark = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] <= 130
        for x, y in places:
            right, bottom = x + font.getlength(text) + 4, y + 14
            inside = x >= 0 and y >= 0 and right <= self.image.width and bottom <= self.image.height
            if inside and not any(x < c and a < right and y < d and b < bottom for a, b, c, d in self.taken):
                self.taken.append((x, y, right, bottom))
                draw.rectangle((x, y, right, bottom), colour)
                draw.text((x + 2, y), text, (255, 255, 255) if dark else (0, 0, 0), font)
                return


def _legend(data: LabelledSet, cells: Sequence[Cell], width: int) -> list[tuple[int, str, float, int]]:
    """Return (category, text, x, y) for every entry of the legend, with as many entries per row as fit."""
    shown = np.isin(data.image, [cell.picture for cell in cells if cell.picture is not None])
    counts = np.bincount(data.category[shown], minlength=len(data.categories))
    entries: list[tuple[int, str, float, int]] = []
    x, y = float(_GAP_PX), 0
    for number, name in enumerate(data.categories):
        text = f"{name} × {counts[number]}"
        length = _font(_LEGEND_PX).getlength(text) + 32
        if x + length > width and x > _GAP_PX:
            x, y = float(_GAP_PX), y + _LEGEND_ROW_PX
        entries.append((number, text, x, y))
        x += length
    return entries


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib; Pillow's own font has English letters only."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
