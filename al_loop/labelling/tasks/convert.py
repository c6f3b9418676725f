"""Convert between boxes and Label Studio results: pixels and percent.

A result is a list of regions. A rectangle's x, y, width, height are percent of the image's width and
height; `rotation` is in degrees, clockwise on screen, about the rectangle's top-left corner. A polygon's
points are percent, too. A brush stroke is an RGBA image of the same size, in Label Studio's own run-length
encoding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from reprlib import repr as short_repr  # short and on one line
from typing import Annotated, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.failures import sdk_warnings_off
from al_loop.labelling.client.responses import Json
from al_loop.labelling.client.task import Edits, OutgoingTask
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes, FloatArray, Outline

# Names in label_studio/*.xml, to which results refer.
FROM_NAME = "label"
TO_NAME = "image"
_RECTANGLE, _POLYGON, _BRUSH = "rectanglelabels", "polygonlabels", "brushlabels"
#: The control that draws regions of a type. Detection has the first, segmentation has all.
CONTROLS = {_RECTANGLE: FROM_NAME, _POLYGON: "polygon", _BRUSH: "brush"}

# A side that moved by less counts as unchanged: far below a pixel, far above a browser's rounding.
_UNCHANGED_PERCENT = 1e-6
# By rounding, points on a line enclose an area of up to 1e-7.
_NO_AREA_PX2 = 1e-4
# Bytes before the first run: the count of numbers, bits per number, bits of the four kinds of runs.
_RUN_LENGTHS_HEAD = 7
# Nobody draws more on one image. A longer result comes from a script or a fault, and would delay all others.
_MAX_REGIONS = 5_000
_MAX_POINTS = 100_000

# Percent or degrees. Boxes are clipped to the image; larger numbers would lose their corners to rounding.
_Number = Annotated[float, Meta(ge=-1e6, le=1e6)]
_Length = Annotated[float, Meta(gt=0, le=1e6)]
_Byte = Annotated[int, Meta(ge=0, le=255)]
_T = TypeVar("_T")


class RefusedResultError(LabelStudioError):
    """The submitted result cannot be converted to boxes; the message is one sentence for the user."""


@dataclass(frozen=True)
class ImageSize:
    """Width and height of an image as displayed, pixels."""

    width: int
    height: int


class _Region(msgspec.Struct, frozen=True):
    """A region of a result."""

    type: str
    value: Json = {}
    id: str | int | None = None
    original_width: float = 0
    original_height: float = 0
    image_rotation: float | None = None


class _Rectangle(msgspec.Struct, frozen=True):
    """The value of a rectangle: percent and degrees."""

    x: _Number
    y: _Number
    width: _Length
    height: _Length
    rotation: _Number = 0.0
    labels: list[str] = msgspec.field(name=_RECTANGLE, default_factory=list)


class _Polygon(msgspec.Struct, frozen=True):
    """The value of a polygon: points in percent."""

    points: Annotated[list[tuple[_Number, _Number]], Meta(min_length=3, max_length=_MAX_POINTS)]
    closed: bool | None = None
    labels: list[str] = msgspec.field(name=_POLYGON, default_factory=list)


class _Strokes(msgspec.Struct, frozen=True):
    """The value of a brush region: run lengths."""

    rle: list[_Byte]
    labels: list[str] = msgspec.field(name=_BRUSH, default_factory=list)


_VALUES: dict[str, type[_Rectangle | _Polygon | _Strokes]] = {
    _RECTANGLE: _Rectangle,
    _POLYGON: _Polygon,
    _BRUSH: _Strokes,
}


def clip(xyxy: FloatArray, size: ImageSize) -> FloatArray:
    """Return boxes (n, 4) with every corner inside the image."""
    return np.clip(xyxy, 0.0, np.array([size.width, size.height] * 2, dtype=np.float64))


def to_prediction(task: OutgoingTask, classes: Sequence[str], model_version: str) -> Json:
    """Return the model's boxes of a task as a prediction of Label Studio.

    Boxes are checked, since the server accepts invalid ones and displays them wrongly. They are clipped to
    the image, and left out if nothing remains.
    Raises LabelStudioError for a label outside `classes` or a score outside [0, 1].
    """
    size = ImageSize(task.width, task.height)
    boxes = task.boxes
    if boxes.scores is None:
        raise LabelStudioError(f"task {task.key}: the model's boxes need scores")
    regions = []
    rows = zip(clip(boxes.xyxy, size), boxes.labels, boxes.scores, strict=True)
    for row, (xyxy, label, score) in enumerate(rows):
        if not 0 <= label < len(classes):
            raise LabelStudioError(
                f"task {task.key}: box {row} has label {label}, expected 0..{len(classes) - 1}"
            )
        if not 0.0 <= score <= 1.0:  # also refuses NaN
            raise LabelStudioError(f"task {task.key}: box {row} has score {score}, expected 0..1")
        if (xyxy[2:] > xyxy[:2]).all():
            name = sha256(f"{task.key}/{row}".encode()).hexdigest()[:10]
            regions.append(region(name, xyxy, classes[label], size) | {"score": float(score)})
    best = max((r["score"] for r in regions), default=0.0)
    return {"model_version": model_version, "score": best, "result": regions}


def region(name: str, xyxy: FloatArray, label: str, size: ImageSize) -> Json:
    """Return an upright rectangle as Label Studio writes it; `xyxy` (4,) in pixels inside the image."""
    sides = np.hstack([xyxy[:2], xyxy[2:] - xyxy[:2]])
    percent = 100.0 * sides / [size.width, size.height, size.width, size.height]
    return {
        "id": name,
        "type": _RECTANGLE,
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "original_width": size.width,
        "original_height": size.height,
        "image_rotation": 0,
        "value": {
            **dict(zip(("x", "y", "width", "height"), percent.tolist(), strict=True)),
            "rotation": 0,
            _RECTANGLE: [label],
        },
    }


def from_result(result: object, size: ImageSize, classes: Sequence[str], *, outlined: bool = False) -> Boxes:
    """Return a submitted result as boxes in pixels, without scores.

    A rotated rectangle becomes the upright hull of its corners, clipped to the image.
    outlined: also accept polygons and brush strokes. Their outlines are kept, clipped to the image; the box
    is the hull.
    Raises RefusedResultError if a guess would be needed: a rotated image, another image size, an unknown
    label, another shape, an open or empty outline, numbers out of range.
    """
    index = {name: i for i, name in enumerate(classes)}
    boxes: list[FloatArray] = []
    labels: list[int] = []
    outlines: list[Outline | None] = []
    for item in _read_regions(result):
        _check_type(item, outlined)
        _check_image(item, size)
        value = _read_value(item)
        labels.append(_class_index(value.labels, index))
        if isinstance(value, _Rectangle):
            outlines.append(None)
            boxes.append(clip(_rectangle_hull(value, size), size))
        else:
            outline = (
                _polygon_outline(value, size) if isinstance(value, _Polygon) else _brush_mask(value.rle, size)
            )
            outlines.append(outline)
            boxes.append(clip(segmentation.hull(outline), size))
    corners = np.vstack([np.zeros((0, 4)), *boxes])
    if (corners[:, 2:] <= corners[:, :2]).any():
        raise RefusedResultError("a box has no area inside the image")
    masks = tuple(outlines) if any(outlines) else None
    return Boxes(corners, np.array(labels, dtype=np.int64), outlines=masks)


def count_edits(proposed: Sequence[object], submitted: object) -> Edits:
    """Count what people did to the proposed regions, which are matched by id and type.

    A rectangle replaced by an outline counts as one deleted and one added. Proposals that cannot be read do
    not count: nobody has seen them. Raises RefusedResultError if `submitted` is not a list of regions.
    """
    before: dict[tuple[str | int | None, str], _Region] = {}
    for item in proposed:
        with suppress(RefusedResultError):
            old = parse_value(item, _Region, "a proposal")
            before[old.id, old.type] = old
    counts = dict.fromkeys(("kept", "moved", "resized", "relabelled", "added"), 0)
    seen = set()
    for new in _read_regions(submitted):
        key = (new.id, new.type)
        if key in before:
            seen.add(key)
        counts[_kind_of_edit(before[key], new) if key in before else "added"] += 1
    return Edits(deleted=len(before) - len(seen), **counts)


def parse_value(value: object, shape: type[_T], name: str, hint: str = "") -> _T:
    """Convert a value of the server to a type of msgspec; raise RefusedResultError if it does not fit."""
    try:
        return msgspec.convert(value, shape)
    except (msgspec.ValidationError, RecursionError) as error:
        raise RefusedResultError(f"{name} cannot be read: {error}{hint}") from None


def _read_regions(result: object) -> list[_Region]:
    """Return the regions of a result, without the relations between them."""
    if isinstance(result, list | tuple) and len(result) > _MAX_REGIONS:
        raise RefusedResultError(f"{len(result)} regions on one image, expected at most {_MAX_REGIONS}")
    return [item for item in parse_value(result, list[_Region], "the result") if item.type != "relation"]


def _read_value(item: _Region) -> _Rectangle | _Polygon | _Strokes:
    name = f"a region of type {item.type!r}"
    return parse_value(item.value, _VALUES[item.type], name, ". Draw it again and submit")


def _kind_of_edit(old: _Region, new: _Region) -> str:
    """Return the field of `Edits` that counts this change."""
    if new.type != _RECTANGLE:
        return "kept"
    try:
        was, now = _read_value(old), _read_value(new)
    except RefusedResultError:
        return "resized"
    if was.labels != now.labels:
        return "relabelled"

    def differ(*sides: str) -> bool:
        return any(abs(getattr(was, side) - getattr(now, side)) > _UNCHANGED_PERCENT for side in sides)

    if differ("width", "height", "rotation"):
        return "resized"
    return "moved" if differ("x", "y") else "kept"


def _check_type(item: _Region, outlined: bool) -> None:
    if outlined and item.type not in CONTROLS:
        raise RefusedResultError(
            f"expected rectangles, polygons and the brush, got a region of type {short_repr(item.type)}: "
            "draw it again with one of these and submit"
        )
    if not outlined and item.type != _RECTANGLE:
        raise RefusedResultError(
            f"expected labelled rectangles only, got a region of type {short_repr(item.type)}: draw a "
            "rectangle instead and submit again, or keep outlines from the next cycle on with "
            'task = "segmentation" in al-loop.toml'
        )


def _check_image(item: _Region, size: ImageSize) -> None:
    if item.image_rotation:
        raise RefusedResultError(
            f"the image was rotated by {item.image_rotation:g} degrees: rotate it back and submit again"
        )
    width, height = item.original_width, item.original_height
    if (width, height) != (size.width, size.height):
        swapped = (height, width) == (size.width, size.height)
        hint = "; the file seems to have an EXIF orientation" if swapped else ""
        raise RefusedResultError(
            f"the browser saw an image of {width:g}x{height:g} pixels, "
            f"the workspace has {size.width}x{size.height}{hint}"
        )


def _class_index(names: list[str], index: Mapping[str, int]) -> int:
    if len(names) != 1:
        raise RefusedResultError(f"every box and outline needs exactly one label, got {short_repr(names)}")
    if names[0] not in index:
        raise RefusedResultError(
            f"label {short_repr(names[0])} is not one of the workspace's classes: {', '.join(index)}"
        )
    return index[names[0]]


def _polygon_outline(value: _Polygon, size: ImageSize) -> Outline:
    """Return a polygon in pixels, clipped to the image."""
    if value.closed is False:
        raise RefusedResultError("a polygon is open: close it at its first point and submit again")
    points = np.array(value.points) * [size.width, size.height] / 100.0
    within = segmentation.inside(points, size.width, size.height)
    if not len(within) or segmentation.area(segmentation.polygon(within)) < _NO_AREA_PX2:
        raise RefusedResultError("a polygon has no area inside the image")
    return segmentation.polygon(within)


def _brush_mask(rle: list[int], size: ImageSize) -> Outline:
    """Return the pixels more than half as opaque as the most opaque pixel: the brush has soft edges."""
    with sdk_warnings_off():  # takes seconds to import, and brush strokes are rare
        from label_studio_sdk.converter.brush import decode_rle
    numbers = size.width * size.height * 4  # red, green, blue, alpha
    damaged = RefusedResultError("a brush region cannot be decoded: paint it again and submit")
    # Run lengths never take more than twice the eight bits of each number.
    if not _RUN_LENGTHS_HEAD <= len(rle) <= 2 * numbers + _RUN_LENGTHS_HEAD or rle[4] >> 3 != 7:
        raise damaged
    data = bytes(rle)
    if int.from_bytes(data[:4]) != numbers:  # checked first: the decoder allocates this many numbers
        raise RefusedResultError(
            f"a brush region is not of the image's size, {size.width}x{size.height} pixels: "
            f"expected {numbers} numbers, got {int.from_bytes(data[:4])}"
        )
    try:
        alpha = np.asarray(decode_rle(data).reshape(size.height, size.width, 4)[:, :, 3])
    except (TypeError, ValueError, IndexError, OverflowError):
        raise damaged from None
    if not alpha.any():
        raise RefusedResultError("nothing is left of a brush region: delete it and submit again")
    return segmentation.mask(alpha > alpha.max() // 2)


def _rectangle_hull(value: _Rectangle, size: ImageSize) -> FloatArray:
    """Return the upright hull (1, 4) of a rectangle in pixels."""
    pixels = np.array([size.width, size.height])
    across, down = np.array([value.width, value.height]) * pixels / 100.0
    # Rotate in pixels: a rotation in percent is wrong unless the image is square.
    angle = math.radians(value.rotation)
    cos, sin = math.cos(angle), math.sin(angle)
    local = np.array([[0.0, 0.0], [across, 0.0], [across, down], [0.0, down]])
    corners = local @ np.array([[cos, sin], [-sin, cos]]) + np.array([value.x, value.y]) * pixels / 100.0
    return np.hstack([corners.min(axis=0), corners.max(axis=0)])[None]
