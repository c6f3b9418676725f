"""Outlines of objects: polygons and masks, in the form of COCO's `segmentation`, in px of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from al_loop.structures.boxes import Boxes, FloatArray, IntArray, Outline

#: Conversion from percent may leave points this far outside the image, px. Such points are clipped, and the
#: polygon is not cut.
_ROUNDING_PX = 1e-6


def polygon(points: FloatArray) -> Outline:
    """Return the outline with these corners, (n, 2) px."""
    return [points.ravel().tolist()]


def mask(pixels: NDArray[np.bool_]) -> Outline:
    """Return the outline that covers these pixels, (h, w)."""
    packed = coco.encode(np.asfortranarray(pixels, np.uint8))
    return {"size": list(pixels.shape), "counts": packed["counts"].decode("ascii")}


def mask_at(pixels: NDArray[np.bool_], left: int, top: int, width: int, height: int) -> Outline:
    """Return the outline that covers these pixels, (h, w), at a place in an image of width x height px.

    The pixels lie inside the image. Only their columns are encoded: images are much larger than objects.
    """
    columns = np.zeros((pixels.shape[1], height), np.bool_)
    columns[:, top : top + pixels.shape[0]] = pixels.T
    flat = columns.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=False, append=False)) + left * height
    runs = np.diff(changes, prepend=0, append=width * height).tolist()
    if not runs[-1]:  # the object covers the last pixel of the image
        del runs[-1]
    packed = coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return {"size": [height, width], "counts": packed["counts"].decode("ascii")}


def run_lengths(outline: Outline, width: int, height: int) -> Any:
    """Return the pixels of an outline in an image as the run lengths with which pycocotools computes.

    A polygon is filled as pycocotools does it: pixels inside an odd number of its loops belong to it.
    """
    if isinstance(outline, dict):
        return coco.frPyObjects(outline, height, width) if isinstance(outline["counts"], list) else outline
    return coco.merge(coco.frPyObjects(outline, height, width))


def pixels(outline: Outline, width: int, height: int) -> NDArray[np.bool_]:
    """Return whether each pixel of an image belongs to an outline, (h, w)."""
    return np.asarray(coco.decode(run_lengths(outline, width, height)), np.bool_)


def class_map(boxes: Boxes, width: int, height: int) -> IntArray:
    """Return the class of each pixel of an image, (h, w): that of the highest score there; -1 without one.

    Boxes without an outline have no pixels. Of equal scores, the first box counts.
    """
    classes = np.full((height, width), -1, np.int64)
    scores = np.zeros(len(boxes)) if boxes.scores is None else boxes.scores
    for row in np.argsort(-scores, kind="stable")[::-1].tolist():
        outline = boxes.outlines[row] if boxes.outlines else None
        if outline is not None:
            classes[pixels(outline, width, height)] = boxes.labels[row]
    return classes


def union(outlines: Sequence[Outline], width: int, height: int) -> NDArray[np.bool_]:
    """Return whether each pixel of an image belongs to any of the outlines, (h, w)."""
    if not outlines:
        return np.zeros((height, width), np.bool_)
    parts = [run_lengths(outline, width, height) for outline in outlines]
    return np.asarray(coco.decode(coco.merge(parts)), np.bool_)


def rectangle(box: FloatArray, width: int, height: int) -> Outline:
    """Return the mask of all pixels of an image that a box, xyxy (4,), touches."""
    x1, y1 = np.maximum(np.floor(box[:2]), 0).astype(int).tolist()
    x2, y2 = np.minimum(np.ceil(box[2:]), (width, height)).astype(int).tolist()
    return mask_at(np.ones((y2 - y1, x2 - x1), np.bool_), x1, y1, width, height)


def mask_iou(first: Outline, second: Outline) -> float:
    """Return the intersection over union of the pixels of two outlines of one image, in [0, 1]."""
    sizes = [outline["size"] for outline in (first, second) if isinstance(outline, dict)]
    far_corner = np.maximum(hull(first), hull(second))[2:]
    height, width = sizes[0] if sizes else np.ceil(far_corner[::-1]).astype(int).tolist()
    parts = [run_lengths(outline, width, height) for outline in (first, second)]
    return float(coco.iou(parts[:1], parts[1:], [0])[0, 0])


def hull(outline: Outline) -> FloatArray:
    """Return the upright box around an outline, xyxy (4,)."""
    if isinstance(outline, dict):
        height, width = outline["size"]
        x, y, w, h = coco.toBbox(run_lengths(outline, width, height))
        return np.array([x, y, x + w, y + h], dtype=np.float64)
    points = np.concatenate([_points(ring) for ring in outline])
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def area(outline: Outline) -> float:
    """Return the area of an outline in square px. Loops of a polygon that crosses itself are subtracted."""
    if isinstance(outline, dict):
        counts = outline["counts"]
        return float(sum(counts[1::2]) if isinstance(counts, list) else coco.area(outline))
    return sum(map(_ring_area, outline))


def _ring_area(ring: list[float]) -> float:
    points = _points(ring)
    x, y = (points - points[0]).T  # near zero, where products lose the least precision
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def inside(points: FloatArray, width: int, height: int) -> FloatArray:
    """Clip a polygon (n, 2) to an image. Return (m, 2), with m = 0 if the polygon lies outside.

    If the edge of the image cuts a polygon into pieces, these stay one polygon, joined along the edge.
    Source: Sutherland & Hodgman 1974.
    """
    limits = np.array([width, height], dtype=np.float64)
    if (points < -_ROUNDING_PX).any() or (points > limits + _ROUNDING_PX).any():
        for axis in (0, 1):
            points = _cut(points, points[:, axis])
            points = _cut(points, limits[axis] - points[:, axis])
    return np.clip(points, 0.0, limits)


def _cut(points: FloatArray, distance: FloatArray) -> FloatArray:
    """Clip a polygon at a line.

    distance: (n,) signed distance of each corner, negative outside.
    """
    corners = []
    for here in range(len(points)):
        before = here - 1
        if (distance[before] < 0) != (distance[here] < 0):
            share = distance[before] / (distance[before] - distance[here])
            corners.append(points[before] + share * (points[here] - points[before]))
        if distance[here] >= 0:
            corners.append(points[here])
    return np.array(corners, dtype=np.float64).reshape(-1, 2)


def _points(ring: list[float]) -> FloatArray:
    return np.array(ring, dtype=np.float64).reshape(-1, 2)
