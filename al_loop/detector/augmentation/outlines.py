"""Outlines of the objects of a training image: boxes stay tight under rotation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from numpy.typing import NDArray

from al_loop.structures.boxes import FloatArray
from render.annotation.masks import of_segmentation

#: Corners of the convex hull of an object, (k, 2) px. None without an outline.
Hull = FloatArray | None


def hull_of(mask: NDArray[np.bool_]) -> FloatArray:
    """Return the convex hull of the pixels of a mask (h, w), which has one or more."""
    rows = np.flatnonzero(mask.any(axis=1))
    first, last = mask[rows].argmax(axis=1), mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    corners = [np.stack([x, rows + down], axis=1) for x in (first, last) for down in (0, 1)]
    return _convex(np.concatenate(corners))


def _convex(points: FloatArray) -> FloatArray:
    return np.asarray(cv2.convexHull(points.astype(np.float32)), np.float64).reshape(-1, 2)


def outline_hull(outline: Any, height: int, width: int) -> Hull:
    """Return the convex hull of a COCO segmentation. None if it is no outline of this image."""
    if isinstance(outline, list):
        return _convex(np.concatenate([np.reshape(ring, (-1, 2)) for ring in outline]))
    try:
        mask = of_segmentation(outline, height, width) if outline else np.zeros((0, 0), np.bool_)
    except ValueError:
        return None
    return hull_of(mask) if mask.any() else None


@TRANSFORMS.register_module()
class LoadHulls(BaseTransform):  # type: ignore[misc]
    """Set `hulls`, the hull of each box of a resized image."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read the masks of `instances`, whose rows are those of `gt_bboxes`."""
        height, width = results["ori_shape"]
        hulls = [outline_hull(each.get("mask"), height, width) for each in results["instances"]]
        scale = np.array(results["scale_factor"])
        results["hulls"] = [None if hull is None else hull * scale for hull in hulls]
        return results


def joined(hulls: Sequence[Hull]) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return the corners of all hulls, (k, 2), and the rows that they belong to, (k,)."""
    points = [np.zeros((0, 2)) if hull is None else hull for hull in hulls]
    owner = np.repeat(np.arange(len(points)), [len(hull) for hull in points])
    return np.concatenate([np.zeros((0, 2)), *points]), owner


def box_around(hull: FloatArray, box: FloatArray, moved: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Return the box around a moved hull, inside an image of (width, height) px.

    hull, box: before. The box keeps its mean distance to the hull.
    """
    margin = np.mean([hull.min(axis=0) - box[:2], box[2:] - hull.max(axis=0)])
    corners = np.array([moved.min(axis=0) - margin, moved.max(axis=0) + margin])
    return np.clip(corners, 0, size).ravel()
