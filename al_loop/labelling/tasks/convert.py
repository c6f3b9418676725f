"""Boxes <-> Label Studio results, the one place where pixels become percent and back.

A result is a list of regions. A rectangle's x, y, width, height are percent of the image's width and
height; `rotation` is in degrees, clockwise on screen, about the rectangle's top-left corner. A polygon's
points are percent too. What the brush has painted is an RGBA picture of the image's size, packed by
Label Studio's own run lengths.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.client import sdk_warnings_off
from al_loop.labelling.client.task import Edits, OutgoingTask
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes, FloatArray, Outline

# Names in label_studio/*.xml; a result refers to them.
FROM_NAME = "label"
TO_NAME = "image"
#: The control that makes regions of a type. A workspace for detection has the first, one for segmentation has all.
CONTROLS = {"rectanglelabels": FROM_NAME, "polygonlabels": "polygon", "brushlabels": "brush"}

Region = Mapping[str, Any]

# A region counts as untouched when no side moved by more than this; far below a pixel, far above
# what a browser's arithmetic adds.
_SAME_PERCENT = 1e-6
# A polygon of less encloses nothing: rounding alone gives points on a line 1e-7.
_NO_AREA_PX2 = 1e-4
_RUN_LENGTHS_HEAD = (
    7  # bytes before the first run: how many numbers, bits of each, bits of the four kinds of runs
)
# Nobody draws as much on one image: an answer beyond is a script's or a fault, and would hold up all others.
_MOST_REGIONS = 5_000
_MOST_POINTS = 100_000
# Percent or degrees. A box is clipped to the image; beyond this its corners are lost in the arithmetic.
_FARTHEST = 1e6


class RefusedResultError(LabelStudioError):
    """A submitted result that cannot become boxes; the message is one sentence for the user."""


@dataclass(frozen=True)
class ImageSize:
    """Width and height of an image as displayed, pixels."""

    width: int
    height: int


def clip(xyxy: FloatArray, size: ImageSize) -> FloatArray:
    """Return boxes (n, 4) with every corner inside the image."""
    limits = np.array([size.width, size.height] * 2, dtype=np.float64)
    return np.clip(xyxy, 0.0, limits)


def to_prediction(task: OutgoingTask, classes: Sequence[str], model_version: str) -> dict[str, Any]:
    """Return the pre-annotation of a task, checked: the server accepts nonsense and then shows it.

    Boxes are clipped to the image; one that has no area left inside it is not sent.
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
        if xyxy[2] > xyxy[0] and xyxy[3] > xyxy[1]:
            name = sha256(f"{task.key}/{row}".encode()).hexdigest()[:10]
            regions.append(region(name, xyxy, classes[label], size, score=float(score)))
    best = max((r["score"] for r in regions), default=0.0)
    return {"model_version": model_version, "score": best, "result": regions}


def region(
    name: str, xyxy: FloatArray, label: str, size: ImageSize, *, score: float | None = None
) -> dict[str, Any]:
    """Return one upright rectangle as Label Studio writes it; `xyxy` (4,) in pixels inside the image."""
    x1, y1, x2, y2 = (float(v) for v in xyxy)
    made: dict[str, Any] = {
        "id": name,
        "type": "rectanglelabels",
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "original_width": size.width,
        "original_height": size.height,
        "image_rotation": 0,
        "value": {
            "x": 100.0 * x1 / size.width,
            "y": 100.0 * y1 / size.height,
            "width": 100.0 * (x2 - x1) / size.width,
            "height": 100.0 * (y2 - y1) / size.height,
            "rotation": 0,
            "rectanglelabels": [label],
        },
    }
    if score is not None:
        made["score"] = score
    return made


def from_result(result: object, size: ImageSize, classes: Sequence[str], *, outlined: bool = False) -> Boxes:
    """Return a submitted result as boxes in pixels, without scores.

    A rotated rectangle becomes the upright hull of its corners, clipped to the image.
    outlined: polygons and what the brush has painted are taken too: kept as outlines, clipped to the image, and their hull
    is the box.
    Raises RefusedResultError where a guess would be needed: a turned image, another image size, a label
    that is not in `classes`, another shape, an outline that is open or empty, numbers that are not finite.
    """
    index = {name: i for i, name in enumerate(classes)}
    boxes: list[FloatArray] = []
    labels: list[int] = []
    drawn: list[Outline | None] = []
    for item in _regions(result):
        _check_type(item, outlined)
        _check_image(item, size)
        labels.append(_label(item, index))
        outline = _outline(item, size)
        drawn.append(outline)
        boxes.append(clip(_rectangle(item, size) if outline is None else segmentation.hull(outline), size))
    corners = np.vstack([np.zeros((0, 4)), *boxes])
    if (corners[:, 2:] <= corners[:, :2]).any():
        raise RefusedResultError("a box has no area inside the image")
    kept = tuple(drawn) if any(drawn) else None
    return Boxes(corners, np.array(labels, dtype=np.int64), outlines=kept)


def count_edits(proposed: Sequence[Region], submitted: Sequence[Region]) -> Edits:
    """Return what became of the proposed regions, matched by the region's id and type.

    A rectangle that somebody has replaced by an outline is one deleted and one added. A proposal that is no region counts
    as none: nobody has seen it. Raises RefusedResultError where what was submitted is not a list of regions.
    """
    before = {
        (item.get("id"), item.get("type")): item
        for item in (proposed if isinstance(proposed, Sequence) else ())
        if isinstance(item, Mapping) and _is_name(item.get("id")) and isinstance(item.get("type"), str)
    }
    counts = dict.fromkeys(("kept", "moved", "resized", "relabelled", "added"), 0)
    seen = set()
    for item in _regions(submitted):
        key = (item.get("id"), item.get("type"))
        if key in before:
            seen.add(key)
        counts[_change(before[key], item) if key in before else "added"] += 1
    return Edits(deleted=len(before) - len(seen), **counts)


def _regions(result: object) -> list[Region]:
    """Return what is drawn; the rest of a result says how regions belong together.

    Raises RefusedResultError where it is not a list of objects with a type, a value, and an id that is one.
    """
    if not isinstance(result, list | tuple):
        raise RefusedResultError(f"expected a list of regions, got {shown(result)}")
    if len(result) > _MOST_REGIONS:
        raise RefusedResultError(f"{len(result)} regions on one image, expected at most {_MOST_REGIONS}")
    found: list[Region] = []
    for item in result:
        if not isinstance(item, Mapping):
            raise RefusedResultError(f"expected a region, got {shown(item)}")
        if not isinstance(item.get("type"), str):
            raise RefusedResultError(f"a region has the type {shown(item.get('type'))}, expected a word")
        if item["type"] == "relation":
            continue
        if not _is_name(item.get("id")):
            raise RefusedResultError(f"a region has the id {shown(item['id'])}, expected a word")
        if not isinstance(item.get("from_name", ""), str | None):
            raise RefusedResultError(
                f"a region is of the control {shown(item['from_name'])}, expected a word"
            )
        if not isinstance(item.get("value"), Mapping):
            raise RefusedResultError(
                f"every box and outline needs a place and exactly one label, got {shown(item.get('value'))}"
            )
        found.append(item)
    return found


def shown(value: object) -> str:
    """Return a value of a foreign answer for a message: short, on one line, however deep or long it is."""
    return reprlib.repr(value)


def is_number(value: object) -> TypeGuard[float]:
    """Say whether a value of a foreign answer is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_name(value: object) -> bool:
    return value is None or (isinstance(value, str | int) and not isinstance(value, bool))


def _change(old: Region, new: Region) -> str:
    was = old.get("value")
    was, now = was if isinstance(was, Mapping) else {}, new["value"]
    if _labels(was) != _labels(now):
        return "relabelled"
    if any(_differ(was, now, side) for side in ("width", "height", "rotation")):
        return "resized"
    return "moved" if _differ(was, now, "x") or _differ(was, now, "y") else "kept"


def _labels(value: Region) -> list[str] | None:
    found = value.get("rectanglelabels")
    whole = isinstance(found, list) and all(isinstance(name, str) for name in found)
    return found if whole else None


def _differ(was: Region, now: Region, side: str) -> bool:
    before, after = was.get(side, 0.0), now.get(side, 0.0)
    if not (is_number(before) and is_number(after)):
        return True
    return not abs(before - after) <= _SAME_PERCENT  # NaN differs from all


def _check_type(item: Region, outlined: bool) -> None:
    kind = item.get("type")
    if outlined and kind not in CONTROLS:
        raise RefusedResultError(
            f"expected rectangles, polygons and the brush, got a region of type {kind!r}: "
            "draw it again with one of these and submit"
        )
    if not outlined and kind != "rectanglelabels":
        raise RefusedResultError(
            f"expected labelled rectangles only, got a region of type {kind!r}: draw a rectangle instead and submit again, "
            'or have outlines kept from the next cycle on with task = "segmentation" in al-loop.toml'
        )


def _check_image(item: Region, size: ImageSize) -> None:
    turned = item.get("image_rotation")
    if turned is not None and not is_number(turned):
        raise RefusedResultError(f"the image was turned by {shown(turned)}, expected a number of degrees")
    if turned:
        raise RefusedResultError(
            f"the image was turned by {turned} degrees while labelling; turn it back and submit again"
        )
    width, height = item.get("original_width"), item.get("original_height")
    if not (is_number(width) and is_number(height)):
        raise RefusedResultError(
            f"a region has the image size {shown(width)} x {shown(height)}, expected two numbers of pixels"
        )
    if (width, height) != (size.width, size.height):
        hint = (
            "; the file seems to carry an EXIF rotation"
            if (height, width) == (size.width, size.height)
            else ""
        )
        raise RefusedResultError(
            f"the browser saw an image of {width}x{height} pixels, "
            f"the workspace has {size.width}x{size.height}{hint}"
        )


def _label(item: Region, index: Mapping[str, int]) -> int:
    names = item["value"].get(item["type"]) or []
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise RefusedResultError(f"every box and outline needs exactly one label, got {shown(names)}")
    if names[0] not in index:
        raise RefusedResultError(
            f"label {shown(names[0])} is not one of the workspace's classes: {', '.join(index)}"
        )
    return index[names[0]]


def _outline(item: Region, size: ImageSize) -> Outline | None:
    """Return what is drawn around an object, clipped to the image; None for a rectangle."""
    if item["type"] == "rectanglelabels":
        return None
    return _polygon(item["value"], size) if item["type"] == "polygonlabels" else _painted(item["value"], size)


def _polygon(value: Mapping[str, Any], size: ImageSize) -> Outline:
    points = value.get("points") or []
    if not isinstance(points, list | tuple):
        raise RefusedResultError(f"a polygon has a coordinate that is not a number: {shown(points)}")
    if len(points) > _MOST_POINTS:
        raise RefusedResultError(f"a polygon has {len(points)} points, expected at most {_MOST_POINTS}")
    if len(points) < 3:
        raise RefusedResultError(f"a polygon has {len(points)} points, expected at least 3")
    if not all(isinstance(p, list | tuple) and len(p) == 2 and all(map(is_number, p)) for p in points):
        raise RefusedResultError("a polygon has a coordinate that is not a number")
    percent = np.array([[_percent(x), _percent(y)] for x, y in points])
    if value.get("closed") is False:
        raise RefusedResultError("a polygon is open: close it at its first point and submit again")
    if not np.isfinite(percent).all():
        raise RefusedResultError("a polygon has a coordinate that is not finite")
    within = segmentation.inside(percent * [size.width, size.height] / 100.0, size.width, size.height)
    if not len(within) or segmentation.area(segmentation.polygon(within)) < _NO_AREA_PX2:
        raise RefusedResultError("a polygon has no area inside the image")
    return segmentation.polygon(within)


def _percent(value: float) -> float:
    """Return a coordinate, size or angle as a float; infinite beyond what can be computed with."""
    return float(value) if -_FARTHEST <= value <= _FARTHEST else math.inf


def _painted(value: Mapping[str, Any], size: ImageSize) -> Outline:
    """Return the pixels that are more than half as opaque as the most opaque one: the brush has soft edges."""
    alpha = _unpacked(value.get("rle"), size)
    if not alpha.any():
        raise RefusedResultError("nothing is left of what the brush has painted: delete it and submit again")
    return segmentation.mask(alpha > alpha.max() // 2)


def _unpacked(packed: object, size: ImageSize) -> NDArray[np.uint8]:
    """Return how opaque each pixel is, (h, w)."""
    with sdk_warnings_off():  # takes seconds to import, and few people paint
        from label_studio_sdk.converter.brush import decode_rle
    numbers = size.width * size.height * 4  # red, green, blue, alpha
    damaged = RefusedResultError("what the brush has painted cannot be decoded: paint it again and submit")
    try:
        # No picture takes twice its numbers.
        whole = isinstance(packed, list) and len(packed) <= 2 * numbers + _RUN_LENGTHS_HEAD
        data = bytes(packed) if isinstance(packed, list) and whole else b""
        if (
            len(data) < _RUN_LENGTHS_HEAD or data[4] >> 3 != 7
        ):  # 7: numbers of eight bits, as those of a picture are
            raise damaged
        if int.from_bytes(data[:4]) != numbers:  # asked before room is made for so many
            raise RefusedResultError(
                f"what the brush has painted is not of the image's size, {size.width}x{size.height} pixels: "
                f"expected {numbers} numbers, got {int.from_bytes(data[:4])}"
            )
        return np.asarray(decode_rle(data).reshape(size.height, size.width, 4)[:, :, 3])
    except (TypeError, ValueError, IndexError, OverflowError):
        raise damaged from None


def _rectangle(item: Region, size: ImageSize) -> FloatArray:
    value = item["value"]
    sides = [value.get(name) for name in ("x", "y", "width", "height")] + [value.get("rotation", 0.0)]
    wrong = [side for side in sides if not is_number(side)]
    if wrong:
        raise RefusedResultError(f"a box has a coordinate that is not a number: {shown(wrong[0])}")
    x, y, width, height, rotation = map(_percent, sides)
    if not all(map(math.isfinite, (x, y, width, height, rotation))):
        raise RefusedResultError("a box has a coordinate that is not finite")
    if width <= 0 or height <= 0:
        raise RefusedResultError(f"a box has no area: {width} x {height} percent")
    left, top = x * size.width / 100.0, y * size.height / 100.0
    across, down = width * size.width / 100.0, height * size.height / 100.0
    # Rotate in pixels, not in percent: the two differ on an image that is not square.
    turn = math.radians(rotation)
    cos, sin = math.cos(turn), math.sin(turn)
    local = np.array([[0.0, 0.0], [across, 0.0], [across, down], [0.0, down]])
    turned = local @ np.array([[cos, sin], [-sin, cos]]) + np.array([left, top])
    low, high = turned.min(axis=0), turned.max(axis=0)
    return np.array([[low[0], low[1], high[0], high[1]]], dtype=np.float64)
