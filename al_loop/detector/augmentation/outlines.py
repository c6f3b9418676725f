"""Outlines of the objects of a training image: masks, and hulls that keep boxes tight under rotation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.mask import BitmapMasks
from numpy.typing import NDArray

from al_loop.structures.boxes import FloatArray
from al_loop.structures.segmentation import pixels
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


def fitted_mask(outline: Any, original: tuple[int, ...], fitted: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Return the pixels of an object in a resized image, (h, w) of 0 and 1.

    outline: COCO segmentation in px of the original image.
    original, fitted: (height, width, ...) of both images.
    None if the outline cannot be used, or if it covers no pixel.
    """
    height, width = fitted[:2]
    if isinstance(outline, list):
        scale = [width / original[1], height / original[0]]
        rings = [(np.reshape(ring, (-1, 2)) * scale).ravel().tolist() for ring in outline if len(ring) >= 6]
        mask = pixels(rings, width, height).view(np.uint8) if rings else np.zeros((1, 1), np.uint8)
        return mask if mask.any() else None
    try:
        whole = of_segmentation(outline, original[0], original[1])
    except ValueError:
        return None
    # Masks are decoded column by column: their transpose is resized without a copy of the whole image.
    mask = cv2.resize(whole.T.view(np.uint8), (height, width), interpolation=cv2.INTER_NEAREST_EXACT).T
    return np.ascontiguousarray(mask) if mask.any() else None


@TRANSFORMS.register_module()
class LoadMasks(BaseTransform):  # type: ignore[misc]
    """Set `gt_masks`, the mask of each box of a resized image, all 0 for a box without an outline."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Draw the masks of `instances`, whose rows are those of `gt_bboxes`."""
        shape = results["img_shape"]
        masks = np.zeros((len(results["instances"]), *shape), np.uint8)
        for row, each in enumerate(results["instances"]):
            if outline := each.get("mask"):
                mask = fitted_mask(outline, results["ori_shape"], shape)
                masks[row] = 0 if mask is None else mask
        results["gt_masks"] = BitmapMasks(masks, *shape)
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
