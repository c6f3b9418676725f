"""Outlines as polygons and brush regions of Label Studio, and back.

A polygon's points are percent of the image's width and height. A brush region is an RGBA image of the image's
size, in Label Studio's own run-length encoding; its alpha is the share of a pixel that is painted.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.failures import sdk_warnings_off
from al_loop.labelling.client.responses import Json
from al_loop.labelling.tasks.regions import (
    BRUSH,
    POLYGON,
    Brush,
    ImageSize,
    Polygon,
    RefusedResultError,
    read_regions,
    read_value,
)
from al_loop.structures import segmentation
from al_loop.structures.boxes import FloatArray, Outline

#: How people are shown the model's outlines. "auto": as polygons, but where these fit badly as brush regions.
Form = Literal["auto", "polygon", "brush"]
#: A polygon of more points takes longer to correct than to draw again.
MAX_POINTS = 40
#: Lowest IoU of a polygon with its mask. It is lower if the mask has a hole, other parts or a rough edge that
#: matters.
MIN_IOU = 0.9

# By rounding, points on a line enclose an area of up to 1e-7.
_NO_AREA_PX2 = 1e-4
# Filling an outline takes time and memory in proportion to its length: a second and 300 MB for twice as much.
_LONGEST_PX = 2e6
# Bytes before the first run: the count of numbers, bits per number, bits of the four kinds of runs.
_RUN_LENGTHS_HEAD = 7
# Alpha, of 255, that nobody sees: what an eraser with soft edges leaves of a mask.
_INVISIBLE = 32


def outline_value(outline: Outline, size: ImageSize, form: Form) -> tuple[str, Json] | None:
    """Return the type and the value, without label, of the region that shows an outline to people.

    None if no pixel of the image is in the outline. Raises LabelStudioError for a mask of another size.
    """
    from al_loop.labelling.tasks.editable_polygons import editable_polygon  # imports OpenCV

    pixels = _pixels(outline, size)
    if not pixels.any():
        return None
    if form == "brush":
        return BRUSH, brush_value(pixels)
    if isinstance(outline, list) and len(outline) == 1 and len(outline[0]) <= 2 * MAX_POINTS:
        return POLYGON, polygon_value(segmentation.inside(_corners(outline), size.width, size.height), size)
    points, overlap = editable_polygon(pixels, MAX_POINTS)
    if form == "polygon" or overlap >= MIN_IOU:
        return POLYGON, polygon_value(points, size)
    return BRUSH, brush_value(pixels)


def exact_value(outline: Outline, size: ImageSize) -> tuple[str, Json]:
    """Return the type and the value, without label, of the region that is exactly an outline."""
    if isinstance(outline, list) and len(outline) == 1:
        return POLYGON, polygon_value(_corners(outline), size)
    return BRUSH, brush_value(_pixels(outline, size))


def polygon_value(points: FloatArray, size: ImageSize) -> Json:
    """Return the value of a polygon with these corners, (n, 2) px."""
    return {"points": (100.0 * points / [size.width, size.height]).tolist(), "closed": True}


def brush_value(pixels: NDArray[np.bool_]) -> Json:
    """Return the value of a brush region that covers these pixels, (h, w)."""
    with sdk_warnings_off():  # takes seconds to import
        from label_studio_sdk.converter.brush import mask2rle
    return {"format": "rle", "rle": mask2rle(np.where(pixels, np.uint8(255), np.uint8(0)))}


def polygon_outline(value: Polygon, size: ImageSize) -> Outline:
    """Return a polygon in pixels, clipped to the image.

    A polygon that crosses itself becomes a mask. Of its loops, those count that an odd number of windings
    encloses.
    """
    if value.closed is False:
        raise RefusedResultError("a polygon is open: close it at its first point and submit again")
    if len(value.points) < 3:
        raise RefusedResultError(
            f"a polygon has {len(value.points)} points, expected 3 or more: draw it again and submit"
        )
    points = np.array(value.points) * [size.width, size.height] / 100.0
    within = segmentation.inside(points, size.width, size.height)
    length_px = float(np.hypot(*(within - np.roll(within, 1, axis=0)).T).sum())
    if length_px > _LONGEST_PX:
        raise RefusedResultError(
            f"a polygon is {length_px:.0f} px long, expected at most {_LONGEST_PX:.0f}: draw it again and "
            "submit"
        )
    outline = segmentation.polygon(within)
    if len(within) and _crosses_itself(value):
        outline = segmentation.mask(_pixels(outline, size))
    if not len(within) or segmentation.area(outline) < _NO_AREA_PX2:
        raise RefusedResultError("a polygon has no area inside the image: delete it and submit again")
    return outline


def crossing_note(result: object) -> str | None:
    """Return a sentence on the polygons of a readable result that cross themselves; None if none does."""
    polygons = [read_value(item) for item in read_regions(result) if item.type == POLYGON]
    count = sum(isinstance(value, Polygon) and _crosses_itself(value) for value in polygons)
    if not count:
        return None
    what = "a polygon crosses itself" if count == 1 else f"{count} polygons cross themselves"
    return f"{what}: kept as a mask, without what two of its loops enclose"


def _crosses_itself(value: Polygon) -> bool:
    """Whether two sides of a polygon cross or overlap."""
    import shapely

    return not shapely.Polygon(value.points).is_valid


def brush_mask(value: Brush, size: ImageSize) -> NDArray[np.bool_]:
    """Return the pixels (h, w) more than half as opaque as the most opaque one: the brush has soft edges."""
    with sdk_warnings_off():  # takes seconds to import, and brush regions are rare
        from label_studio_sdk.converter.brush import decode_rle
    rle = value.rle
    numbers = size.width * size.height * 4  # red, green, blue, alpha
    damaged = RefusedResultError("a brush region cannot be decoded: paint it again and submit")
    # Run lengths never take more than twice the eight bits of each number.
    if not _RUN_LENGTHS_HEAD <= len(rle) <= 2 * numbers + _RUN_LENGTHS_HEAD or rle[4] >> 3 != 7:
        raise damaged
    data = bytes(rle)
    if int.from_bytes(data[:4]) != numbers:  # checked first: the decoder allocates this many numbers
        raise RefusedResultError(
            f"a brush region is not of the image's size, {size.width}x{size.height} pixels: "
            f"expected {numbers} numbers, got {int.from_bytes(data[:4])}. Paint it again and submit"
        )
    try:
        alpha = np.asarray(decode_rle(data).reshape(size.height, size.width, 4)[:, :, 3])
    except (TypeError, ValueError, IndexError, OverflowError):
        raise damaged from None
    if alpha.max() < _INVISIBLE:
        raise RefusedResultError("nothing is left of a brush region: delete it and submit again")
    return np.asarray(alpha > alpha.max() // 2)


def _pixels(outline: Outline, size: ImageSize) -> NDArray[np.bool_]:
    """Return the pixels (h, w) in an outline."""
    from render.annotation.masks import of_segmentation  # imports OpenCV

    try:
        return of_segmentation(outline, size.height, size.width)
    except ValueError as error:
        raise LabelStudioError(f"an outline is not of the image's size: {error}") from None


def _corners(polygon: list[list[float]]) -> FloatArray:
    return np.array(polygon[0], dtype=np.float64).reshape(-1, 2)
