"""`segmentation` of an annotation: kept where it has a form that can be drawn."""

from __future__ import annotations

import math
from typing import Any

from render.coco.structures import Picture

#: Numbers of the smallest polygon, a triangle.
_TRIANGLE = 6


def outline_of(segmentation: Any, picture: Picture) -> Any:
    """Return polygons or run lengths of a picture as they are, None for none; raises ValueError for what is neither."""
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        for ring in segmentation:
            if not isinstance(ring, list) or len(ring) < _TRIANGLE or len(ring) % 2:
                raise ValueError("a polygon is a list of x, y, x, y, ... of three corners or more")
            if not _finite(ring):
                raise ValueError("a polygon has finite numbers only")
        return segmentation
    if not isinstance(segmentation, dict) or segmentation.get("size") != [picture.height, picture.width]:
        raise ValueError(f"run lengths need the size [{picture.height}, {picture.width}] of the image")
    counts = segmentation.get("counts")
    if isinstance(counts, list):
        whole = all(isinstance(run, int) and not isinstance(run, bool) and run >= 0 for run in counts)
        if not whole or sum(counts) > picture.height * picture.width:
            raise ValueError("run lengths must be numbers of px, together no more than the image has")
    elif not isinstance(counts, str) or not counts.isascii():
        raise ValueError("counts must be a list or a text")
    return segmentation


def _finite(ring: list[Any]) -> bool:
    """Whether all are finite numbers, at the speed of C: files have millions of them."""
    try:
        return {*map(type, ring)} <= {int, float} and all(map(math.isfinite, ring))
    except OverflowError:
        return False
