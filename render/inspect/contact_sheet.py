"""A contact sheet: pictures in a grid with boxes, names and mask contours, in one small JPEG."""

from __future__ import annotations

import colorsys
import io
import math
from collections.abc import Mapping, Sequence
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

#: Bytes a sheet may take, so that it can be committed and sent.
LIMIT_BYTES = 200_000
_CELL_PX = 320
_GAP_PX = 6
_TAG_PX, _LEGEND_PX = 10, 13
_PAPER, _INK, _FAINT = (250, 250, 250), (20, 20, 20), (120, 120, 120)
_PALETTE = (
    "#e6194b", "#3cb44b", "#4363d8", "#f58231", "#42d4f4", "#f032e6", "#ffe119", "#9a6324", "#bfef45",
    "#911eb4",
)  # fmt: skip
Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class Cell:
    """One place of the grid: a picture of the set, or a note on why there is none."""

    caption: str
    picture: int | None = None
    note: str = ""


@dataclass
class _Canvas:
    """Where things of one picture are drawn: scale is sheet px per picture px; taken: where tags lie."""

    draw: ImageDraw.ImageDraw
    left: int
    top: int
    width: int
    height: int
    scale: float
    taken: list[Rectangle] = field(default_factory=list)


def contact_sheet(data: LabelledSet, cells: Sequence[Cell], title: str) -> Image.Image:
    """Draw the cells row by row, under a title and over a legend of the categories with their counts."""
    shown = [data.pictures[cell.picture] for cell in cells if cell.picture is not None]
    width, height = _cell_size(shown)
    columns = max(1, min(len(cells), round(math.sqrt(len(cells) * 4 / 3 * height / width))))
    rows = -(-len(cells) // columns)
    counts = _counts(data, cells)
    sheet_width = max(columns * (width + _GAP_PX) + _GAP_PX, 480)
    legend = _legend_rows(data.categories, counts, sheet_width)
    head, foot = 26, 8 + 20 * len(legend)
    sheet = Image.new("RGB", (sheet_width, head + rows * (height + _GAP_PX) + foot), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP_PX, 5), title, _INK, _font(_LEGEND_PX))
    for number, cell in enumerate(cells):
        left = _GAP_PX + number % columns * (width + _GAP_PX)
        top = head + number // columns * (height + _GAP_PX)
        _draw_cell(sheet, data, cell, (left, top, width, height))
    _draw_legend(draw, legend, data.categories, head + rows * (height + _GAP_PX) + 4)
    return sheet


def to_jpeg(sheet: Image.Image, limit: int = LIMIT_BYTES) -> bytes:
    """Encode within `limit` bytes: first the quality goes down, then the size."""
    while True:
        for quality in (90, 82, 74, 66):
            buffer = io.BytesIO()
            sheet.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= limit or min(sheet.size) < 64:
                return buffer.getvalue()
        sheet = sheet.resize(
            (round(sheet.width * 0.85), round(sheet.height * 0.85)), Image.Resampling.LANCZOS
        )


def colour_of(category: int) -> Colour:
    """A colour that can be told from those of the other categories."""
    if category < len(_PALETTE):
        value = int(_PALETTE[category][1:], 16)
        return value >> 16, value >> 8 & 255, value & 255
    r, g, b = colorsys.hsv_to_rgb(category * 0.618034 % 1, 0.85, 0.95)
    return round(r * 255), round(g * 255), round(b * 255)


def _cell_size(pictures: Sequence[Picture]) -> tuple[int, int]:
    """Size of a cell in px: the pictures' shape with a longest side of _CELL_PX."""
    if not pictures:
        return _CELL_PX, _CELL_PX * 3 // 4
    width, height = pictures[0].width, pictures[0].height
    scale = _CELL_PX / max(width, height)
    return max(32, round(width * scale)), max(32, round(height * scale))


def _draw_cell(sheet: Image.Image, data: LabelledSet, cell: Cell, place: tuple[int, int, int, int]) -> None:
    left, top, width, height = place
    draw = ImageDraw.Draw(sheet)
    picture = None if cell.picture is None else data.pictures[cell.picture]
    shown, problem = _opened(picture)
    if picture is None or shown is None:
        draw.rectangle((left, top, left + width, top + height), (235, 235, 235))
        note = f"{cell.caption}\n{cell.note or problem}"
        draw.multiline_text((left + 6, top + 6), _wrapped(note, width - 12), _FAINT, _font(_TAG_PX))
        return
    scale = min(width / picture.width, height / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    sheet.paste(shown.resize(size, Image.Resampling.LANCZOS), (left, top))
    canvas = _Canvas(draw, left, top, *size, scale)
    labels = np.flatnonzero(data.image == cell.picture)
    for i in labels:
        _draw_outline(canvas, data.outlines[i], picture, colour_of(int(data.category[i])))
    for i in labels:
        _draw_box(canvas, data.bbox[i], colour_of(int(data.category[i])))
    _draw_tag(canvas, [(4, size[1] - 18)], cell.caption, (60, 60, 60))
    for i in sorted(labels, key=lambda i: -float(data.bbox[i, 2:].prod())):
        category = int(data.category[i])
        _draw_name(canvas, data.bbox[i], data.categories[category], colour_of(category))


def _opened(picture: Picture | None) -> tuple[Image.Image | None, str]:
    """A picture, or why there is none."""
    if picture is None or picture.path is None:
        return None, "no such file"
    try:
        shown = Image.fromarray(np.ascontiguousarray(read_picture(picture.path)[..., ::-1]))
    except PictureError as error:
        return None, str(error)
    if shown.size != (picture.width, picture.height):  # the boxes are not of what the file shows
        return None, f"is {shown.width}x{shown.height} px upright, not {picture.width}x{picture.height}"
    return shown, ""


def _draw_outline(canvas: _Canvas, segmentation: Any, picture: Picture, colour: Colour) -> None:
    if segmentation is None:
        return
    import cv2

    try:
        mask = masks.of_segmentation(segmentation, picture.height, picture.width)
    except ValueError:  # of another tool, and not of this picture: its box is drawn
        return
    larger = cv2.resize(mask.astype(np.uint8), (canvas.width, canvas.height), interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(larger, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for contour in contours:
        points = [(int(x) + canvas.left, int(y) + canvas.top) for x, y in contour[:, 0]]
        canvas.draw.line([*points, points[0]], colour, 1)


def _draw_box(canvas: _Canvas, bbox: NDArray[np.float64], colour: Colour) -> None:
    x, y, w, h = bbox * canvas.scale
    # The line runs around the labelled pixels, not over them.
    left, top = max(0.0, x - 1), max(0.0, y - 1)
    right, bottom = min(canvas.width - 1.0, x + w), min(canvas.height - 1.0, y + h)
    box = (
        canvas.left + left,
        canvas.top + top,
        canvas.left + max(left, right),
        canvas.top + max(top, bottom),
    )
    canvas.draw.rectangle(box, outline=colour, width=1)


def _draw_name(canvas: _Canvas, bbox: NDArray[np.float64], name: str, colour: Colour) -> None:
    x, y, w, h = bbox * canvas.scale
    width = _font(_TAG_PX).getlength(name) + 4
    right = x + w - width
    _draw_tag(
        canvas,
        [(x, y - 14), (x, y + h), (right, y - 14), (right, y + h), (x + w, y), (x - width, y)],
        name,
        colour,
    )


def _draw_tag(canvas: _Canvas, places: list[tuple[float, float]], text: str, colour: Colour) -> None:
    """Write at the first place that is free and inside the picture; where none is, the colour must do."""
    font = _font(_TAG_PX)
    width, height = font.getlength(text) + 4, 14
    for x, y in places:
        box = (x, y, x + width, y + height)
        inside = x >= 0 and y >= 0 and box[2] <= canvas.width and box[3] <= canvas.height
        if inside and not any(_overlap(box, other) for other in canvas.taken):
            canvas.taken.append(box)
            corner = (canvas.left + x, canvas.top + y)
            canvas.draw.rectangle((*corner, corner[0] + width, corner[1] + height), colour)
            canvas.draw.text((corner[0] + 2, corner[1]), text, _readable_on(colour), font)
            return


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _readable_on(colour: Colour) -> Colour:
    return (0, 0, 0) if 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] > 130 else (255, 255, 255)


def _counts(data: LabelledSet, cells: Sequence[Cell]) -> Mapping[int, int]:
    shown = np.isin(data.image, [cell.picture for cell in cells if cell.picture is not None])
    return dict(enumerate(np.bincount(data.category[shown], minlength=len(data.categories)).tolist()))


def _legend_rows(
    categories: Sequence[str], counts: Mapping[int, int], width: int
) -> list[list[tuple[int, str, float]]]:
    """(category, text, x) of the legend, broken into rows."""
    rows: list[list[tuple[int, str, float]]] = [[]]
    x = float(_GAP_PX)
    for number, name in enumerate(categories):
        text = f"{name} × {counts[number]}"
        wide = _font(_LEGEND_PX).getlength(text) + 32
        if x + wide > width and rows[-1]:
            rows.append([])
            x = float(_GAP_PX)
        rows[-1].append((number, text, x))
        x += wide
    return rows


def _draw_legend(
    draw: ImageDraw.ImageDraw, rows: list[list[tuple[int, str, float]]], names: Sequence[str], top: int
) -> None:
    for line, row in enumerate(rows):
        for number, text, x in row:
            y = top + 20 * line
            draw.rectangle((x, y + 3, x + 12, y + 15), colour_of(number))
            draw.text((x + 17, y), text, _INK, _font(_LEGEND_PX))


def _wrapped(text: str, width: int) -> str:
    letters = max(8, int(width / _font(_TAG_PX).getlength("n")))
    lines = [
        line[i : i + letters] for line in text.splitlines() for i in range(0, max(1, len(line)), letters)
    ]
    return "\n".join(lines[:12])


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu, which comes with matplotlib: Pillow's own font knows no letters but English ones."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
