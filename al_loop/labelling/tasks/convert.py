"""Convert between boxes with outlines and Label Studio results: pixels and percent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import sha256
from reprlib import repr as short_repr  # short and on one line

import numpy as np

from al_loop.core.config import Drawn
from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.responses import Json
from al_loop.labelling.client.task import OutgoingTask
from al_loop.labelling.tasks.outlines import Form, brush_mask, outline_value, polygon_outline
from al_loop.labelling.tasks.regions import (
    CONTROLS,
    RECTANGLE,
    TO_NAME,
    TYPES,
    ImageSize,
    Polygon,
    Rectangle,
    RefusedResultError,
    Region,
    read_regions,
    read_value,
)
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes, FloatArray, Outline


def clip(xyxy: FloatArray, size: ImageSize) -> FloatArray:
    """Return boxes (n, 4) with every corner inside the image."""
    return np.clip(xyxy, 0.0, np.array([size.width, size.height] * 2, dtype=np.float64))


def to_prediction(
    task: OutgoingTask, classes: Sequence[str], model_version: str, form: Form | None = None
) -> Json:
    """Return the model's boxes of a task as a prediction of Label Studio.

    Boxes are checked, since the server accepts invalid ones and displays them wrongly. They are clipped to
    the image, and left out if nothing remains. Each box is one region.

    form: of boxes with an outline; None shows all boxes as rectangles.
    Raises LabelStudioError for a label outside `classes`, a score outside [0, 1] or a mask of another size.
    """
    size = ImageSize(task.width, task.height)
    boxes = task.boxes
    if boxes.scores is None:
        raise LabelStudioError(f"task {task.key}: the model's boxes need scores")
    outlines = boxes.outlines if form and boxes.outlines else (None,) * len(boxes)
    regions = []
    rows = zip(clip(boxes.xyxy, size), boxes.labels, boxes.scores, outlines, strict=True)
    for row, (xyxy, label, score, outline) in enumerate(rows):
        if not 0 <= label < len(classes):
            raise LabelStudioError(
                f"task {task.key}: box {row} has label {label}, expected 0..{len(classes) - 1}"
            )
        if not 0.0 <= score <= 1.0:  # also refuses NaN
            raise LabelStudioError(f"task {task.key}: box {row} has score {score}, expected 0..1")
        if (xyxy[2:] > xyxy[:2]).all():
            name = sha256(f"{task.key}/{row}".encode()).hexdigest()[:10]
            shown = outline_value(outline, size, form) if form and outline else None
            made = new_region(name, *shown, classes[label], size) if shown else None
            regions.append((made or region(name, xyxy, classes[label], size)) | {"score": float(score)})
    best = max((r["score"] for r in regions), default=0.0)
    return {"model_version": model_version, "score": best, "result": regions}


def region(name: str, xyxy: FloatArray, label: str, size: ImageSize) -> Json:
    """Return an upright rectangle as Label Studio writes it; `xyxy` (4,) in pixels inside the image."""
    sides = np.hstack([xyxy[:2], xyxy[2:] - xyxy[:2]])
    percent = 100.0 * sides / [size.width, size.height, size.width, size.height]
    value = dict(zip(("x", "y", "width", "height"), percent.tolist(), strict=True))
    return new_region(name, RECTANGLE, {**value, "rotation": 0}, label, size)


def new_region(name: str, kind: str, value: Json, label: str, size: ImageSize) -> Json:
    """Return a region as Label Studio writes it. kind: its type.  value: its value without the label."""
    return {
        "id": name,
        "type": kind,
        "from_name": CONTROLS[kind],
        "to_name": TO_NAME,
        "original_width": size.width,
        "original_height": size.height,
        "image_rotation": 0,
        "value": {**value, kind: [label]},
    }


def from_result(
    result: object, size: ImageSize, classes: Sequence[str], drawn: Drawn = "rectangles"
) -> Boxes:
    """Return a submitted result as boxes in pixels, without scores.

    A rotated rectangle becomes the upright hull of its corners, clipped to the image.
    drawn: with "outlines" polygons and brush strokes are accepted, too. Their outlines are kept, clipped to
        the image; the box is the hull. With "extreme-points" a polygon is the box around its points.
    Raises RefusedResultError if a guess would be needed: a rotated image, another image size, an unknown
    label, another shape, an open or empty outline, numbers out of range.
    """
    index = {name: i for i, name in enumerate(classes)}
    boxes: list[FloatArray] = []
    labels: list[int] = []
    outlines: list[Outline | None] = []
    for item in read_regions(result):
        _check_type(item, drawn)
        _check_image(item, size)
        value = read_value(item)
        labels.append(_class_index(value.labels, index))
        if isinstance(value, Rectangle):
            outlines.append(None)
            boxes.append(clip(_rectangle_hull(value, size), size))
        elif isinstance(value, Polygon) and drawn == "extreme-points":
            outlines.append(None)
            boxes.append(clip(_hull_of_points(value, size), size))
        else:
            outline = (
                polygon_outline(value, size)
                if isinstance(value, Polygon)
                else segmentation.mask(brush_mask(value, size))
            )
            outlines.append(outline)
            boxes.append(clip(segmentation.hull(outline), size))
    corners = np.vstack([np.zeros((0, 4)), *boxes])
    if (corners[:, 2:] <= corners[:, :2]).any():
        raise RefusedResultError("a box has no area inside the image")
    masks = tuple(outlines) if any(outlines) else None
    return Boxes(corners, np.array(labels, dtype=np.int64), outlines=masks)


def _check_type(item: Region, drawn: Drawn) -> None:
    if item.type in TYPES[drawn]:
        return
    if drawn == "rectangles":
        raise RefusedResultError(
            f"expected labelled rectangles only, got a region of type {short_repr(item.type)}: draw a "
            "rectangle instead and submit again, or keep outlines from the next cycle on with "
            'task = "segmentation" in al-loop.toml'
        )
    allowed = ", polygons and the brush" if drawn == "outlines" else " and extreme points"
    raise RefusedResultError(
        f"expected rectangles{allowed}, got a region of type {short_repr(item.type)}: "
        "draw it again with one of these and submit"
    )


def _check_image(item: Region, size: ImageSize) -> None:
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


def _rectangle_hull(value: Rectangle, size: ImageSize) -> FloatArray:
    """Return the upright hull (1, 4) of a rectangle in pixels."""
    pixels = np.array([size.width, size.height])
    across, down = np.array([value.width, value.height]) * pixels / 100.0
    # Rotate in pixels: a rotation in percent is wrong unless the image is square.
    angle = math.radians(value.rotation)
    cos, sin = math.cos(angle), math.sin(angle)
    local = np.array([[0.0, 0.0], [across, 0.0], [across, down], [0.0, down]])
    corners = local @ np.array([[cos, sin], [-sin, cos]]) + np.array([value.x, value.y]) * pixels / 100.0
    return np.hstack([corners.min(axis=0), corners.max(axis=0)])[None]


def _hull_of_points(value: Polygon, size: ImageSize) -> FloatArray:
    """Return the box (1, 4) around points in pixels."""
    if not value.points:
        raise RefusedResultError("extreme points without a point: delete the region and submit again")
    points = np.array(value.points) * [size.width, size.height] / 100.0
    return np.hstack([points.min(axis=0), points.max(axis=0)])[None]
