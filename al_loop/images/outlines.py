"""Outlines of labels in files: checked, clipped to their images, and in one of the forms that are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco

from al_loop.structures import segmentation
from al_loop.structures.boxes import FloatArray, Outline, iou
from render.coco.problems import marked

#: An outline with more corners is stored as the mask of its pixels, which takes less space.
MAX_CORNERS = 1000
#: Longer outlines, and coordinates farther away, are no objects: filling them would need much memory. px.
_MAX_LENGTH_PX, _MAX_COORDINATE_PX = 1e6, 1e6
#: A mask fits a box if no edge of the box around it is farther away, px, or if the IoU of both is larger.
_FIT_PX, _FIT_IOU = 2.0, 0.5
#: Points outside the image by at most this are clipped without a problem, px.
_ROUNDING_PX = 1.0
#: A polygon crosses itself if its loops make a difference of more than this, px².
_CROSSING_PX2 = 1.0


@dataclass(frozen=True)
class CheckedOutline:
    """An outline as it is stored, None if it cannot be used, and the problems in words."""

    outline: Outline | None
    problems: tuple[str, ...] = ()


class _UnusableError(Exception):
    """An outline cannot be used; the message says why."""


def check_outline(outline: Outline | None, box: FloatArray, width: int, height: int) -> CheckedOutline:
    """Check the outline of a box, xyxy (4,), in an image of width x height px.

    Polygons are clipped at the edge of the image. One with very many corners becomes a mask, and run lengths
    become compressed ones. An outline without a pixel in the image, or that does not fit its box, is not
    used: its box is then a label without an outline.
    """
    if outline is None:
        return CheckedOutline(None)
    problems: list[str] = []
    try:
        if isinstance(outline, dict):
            checked = _checked_mask(outline, width, height)
        else:
            checked = _checked_polygon(outline, width, height, problems)
        _check_fit(segmentation.run_lengths(checked, width, height), box)
    except _UnusableError as error:
        return CheckedOutline(None, (f"its segmentation is left out, its box kept: {error}",))
    return CheckedOutline(checked, tuple(problems))


def same_outline(first: Outline | None, second: Outline | None, tolerance_px: float) -> bool:
    """Whether two outlines are the same: polygons within rounding, masks to the pixel."""
    if not isinstance(first, list) or not isinstance(second, list):
        return first == second
    if [len(ring) for ring in first] != [len(ring) for ring in second]:
        return False
    return all(
        float(np.abs(np.subtract(a, b)).max()) <= tolerance_px for a, b in zip(first, second, strict=True)
    )


def _checked_mask(outline: dict[str, object], width: int, height: int) -> Outline:
    from render.annotation.masks import of_segmentation  # imports OpenCV

    try:
        pixels = of_segmentation(outline, height, width)
    except ValueError as error:
        raise _UnusableError(str(error)) from None
    return segmentation.mask(pixels)


def _checked_polygon(outline: list[list[float]], width: int, height: int, problems: list[str]) -> Outline:
    """Return a polygon inside its image, or its mask. Add what was changed to `problems`."""
    rings = [np.array(ring, dtype=np.float64).reshape(-1, 2) for ring in outline]
    corners, size = np.concatenate(rings), marked(f"{width}x{height}")
    if np.abs(corners).max() > _MAX_COORDINATE_PX:
        raise _UnusableError(f"its polygon has corners far outside the {size} image")
    rings = [ring for ring in (segmentation.inside(ring, width, height) for ring in rings) if len(ring) > 2]
    if not rings:
        raise _UnusableError(f"its polygon lies outside the {size} image")
    length = sum(float(np.hypot(*(ring - np.roll(ring, 1, axis=0)).T).sum()) for ring in rings)
    if length > _MAX_LENGTH_PX:
        raise _UnusableError(
            f"its polygon is {marked(round(length))} px long, more than {_MAX_LENGTH_PX:.0f}"
        )
    if max((-corners).max(), (corners - (width, height)).max()) > _ROUNDING_PX:
        problems.append(f"its polygon sticks out of the {size} image: clipped")
    if any(map(_crosses_itself, rings)):
        problems.append("its polygon crosses itself: what lies in an even number of its loops is outside")
    polygon = [ring.ravel().tolist() for ring in rings]
    if len(corners) <= MAX_CORNERS:
        return polygon
    problems.append(f"its polygon has {marked(len(corners))} corners: stored as the mask of its pixels")
    return segmentation.mask(segmentation.pixels(polygon, width, height))


def _crosses_itself(ring: FloatArray) -> bool:
    """Whether loops of a ring, (n, 2) px, overlap or turn in different directions.

    A hole that is joined by a slit is no crossing: the area by the trapezoidal rule is then that of the
    inside. A ring with very many corners is not examined, as it may have millions of loops.
    """
    import shapely  # not needed without outlines

    shape = shapely.Polygon(ring)
    if len(ring) > MAX_CORNERS or shape.is_valid:
        return False
    inside = shapely.make_valid(shape).area  # of the points in an odd number of loops
    return bool(abs(inside - segmentation.area(segmentation.polygon(ring))) > _CROSSING_PX2)


def _check_fit(pixels: Any, box: FloatArray) -> None:
    """Raise _UnusableError for an outline without a pixel, or whose pixels lie elsewhere than its box."""
    if not coco.area(pixels):
        raise _UnusableError("it covers no pixel")
    x, y, w, h = coco.toBbox(pixels).tolist()
    around = np.array([x, y, x + w, y + h])
    if np.abs(around - box).max() > _FIT_PX and iou(around[None], box[None])[0, 0] < _FIT_IOU:
        raise _UnusableError(f"the box around it is {_shown(around)}, not {_shown(box)}")


def _shown(box: FloatArray) -> str:
    return marked([round(float(value), 1) for value in box])
