"""`segmentation` of an annotation: kept where it has a form that can be drawn."""

from __future__ import annotations

from typing import Any

from render.coco.structures import Picture
from render.coco.values import number

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
            if any(isinstance(value, str) or number(value) is None for value in ring):
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
