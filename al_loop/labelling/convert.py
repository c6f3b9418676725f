"""Boxes <-> Label Studio results, the one place where pixels become percent and back.

A result is a list of regions. A rectangle's x, y, width, height are percent of the image's width and
height; `rotation` is in degrees, clockwise on screen, about the rectangle's top-left corner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from al_loop.boxes import Boxes, FloatArray
from al_loop.errors import LabelStudioError
from al_loop.labelling.tasks import Edits, OutgoingTask

# Names in label_studio/labeling_config.xml; a result refers to them.
FROM_NAME = "label"
TO_NAME = "image"

Region = Mapping[str, Any]

# A region counts as untouched when no side moved by more than this; far below a pixel, far above
# what a browser's arithmetic adds.
_SAME_PERCENT = 1e-6


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


def from_result(result: Sequence[Region], size: ImageSize, classes: Sequence[str]) -> Boxes:
    """Return a submitted result as boxes in pixels, without scores.

    A rotated rectangle becomes the upright hull of its corners, clipped to the image.
    Raises RefusedResultError where a guess would be needed: a turned image, another image size, a label
    that is not in `classes`, a shape that is no rectangle, numbers that are not finite.
    """
    index = {name: i for i, name in enumerate(classes)}
    corners = np.zeros((0, 4), dtype=np.float64)
    labels: list[int] = []
    for item in result:
        if item.get("type") == "relation":
            continue
        _check_image(item, size)
        labels.append(_label(item, index))
        corners = np.vstack([corners, clip(_hull(item, size), size)])
    if (corners[:, 2:] <= corners[:, :2]).any():
        raise RefusedResultError("a box has no area inside the image")
    return Boxes(xyxy=corners, labels=np.array(labels, dtype=np.int64))


def count_edits(proposed: Sequence[Region], submitted: Sequence[Region]) -> Edits:
    """Return what became of the proposed regions, matched by the region's id."""
    before = {item.get("id"): item for item in proposed}
    counts = dict.fromkeys(("kept", "moved", "resized", "relabelled", "added"), 0)
    seen = set()
    for item in submitted:
        old = before.get(item.get("id"))
        if old is not None:
            seen.add(item.get("id"))
        counts["added" if old is None else _change(old, item)] += 1
    return Edits(deleted=len(before) - len(seen), **counts)


def _change(old: Region, new: Region) -> str:
    was, now = old.get("value") or {}, new.get("value") or {}
    if was.get("rectanglelabels") != now.get("rectanglelabels"):
        return "relabelled"
    if any(_differ(was, now, side) for side in ("width", "height", "rotation")):
        return "resized"
    return "moved" if _differ(was, now, "x") or _differ(was, now, "y") else "kept"


def _differ(was: Region, now: Region, side: str) -> bool:
    return abs(float(was.get(side, 0.0)) - float(now.get(side, 0.0))) > _SAME_PERCENT


def _check_image(item: Region, size: ImageSize) -> None:
    if item.get("type") != "rectanglelabels":
        raise RefusedResultError(
            f"expected labelled rectangles only, got a region of type {item.get('type')!r}"
        )
    if item.get("image_rotation"):
        raise RefusedResultError(
            f"the image was turned by {item['image_rotation']} degrees while labelling; "
            "turn it back and submit again"
        )
    width, height = item.get("original_width"), item.get("original_height")
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
    names = (item.get("value") or {}).get("rectanglelabels") or []
    if len(names) != 1:
        raise RefusedResultError(f"every box needs exactly one label, got {list(names)}")
    if names[0] not in index:
        raise RefusedResultError(
            f"label {names[0]!r} is not one of the workspace's classes: {', '.join(index)}"
        )
    return index[names[0]]


def _hull(item: Region, size: ImageSize) -> FloatArray:
    value = item["value"]
    try:
        x, y, width, height, rotation = (
            float(value.get(name, 0.0)) for name in ("x", "y", "width", "height", "rotation")
        )
    except (TypeError, ValueError) as error:
        raise RefusedResultError(f"a box has a coordinate that is not a number: {error}") from error
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
