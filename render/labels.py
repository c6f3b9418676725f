"""Boxes of what can be seen. Pixels; xywh with the origin top left."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from render.die import surface, upper_face
from render.projection import project
from render.spec import DieSpec, SceneSpec

#: Cells per face of the mesh whose outline stands for the whole die; 10 keep it within 0.1 px at 40 px.
_OUTLINE_CELLS = 10


class Box(msgspec.Struct, frozen=True):
    """One labelled die. bbox: x, y, w, h of its visible pixels; area: their number."""

    category_id: int
    bbox: tuple[int, int, int, int]
    area: int
    visible_fraction: float
    object_index: int


def boxes(mask: NDArray[np.integer[Any]], spec: SceneSpec) -> tuple[Box, ...]:
    """Labels from an object-index mask (h, w): die number i (from 1) where it is seen, 0 elsewhere."""
    found = []
    for number, die in enumerate(spec.dice, start=1):
        seen = mask == number
        area = int(seen.sum())
        if area < spec.min_visible_px:
            continue
        fraction = min(1.0, area / outline_area(die, spec))
        if fraction < spec.min_visible_fraction:
            continue
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        x, y = int(columns[0]), int(rows[0])
        bbox = (x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)
        found.append(
            Box(upper_face(np.reshape(die.rotation, (3, 3))), bbox, area, round(fraction, 4), number)
        )
    return tuple(found)


def outline_area(die: DieSpec, spec: SceneSpec) -> float:
    """Pixels the die would cover with nothing in front of it and no picture edge."""
    roundness, ball, _, _ = die.shape
    points = surface(roundness, ball, 0.0, 0.0, _OUTLINE_CELLS).vertices * die.edge_m
    world = points @ np.reshape(die.rotation, (3, 3)).T + die.location
    return hull_area(project(spec.camera, spec.width, spec.height, world))


def hull_area(points: NDArray[np.float64]) -> float:
    """Area of the convex hull of (n, 2) points: Andrew's monotone chain, then the shoelace formula."""
    ordered = sorted(map(tuple, points.tolist()))
    hull: list[tuple[float, ...]] = []
    for chain in (ordered, ordered[::-1]):
        half: list[tuple[float, ...]] = []
        for p in chain:
            while len(half) > 1 and _turn(half[-2], half[-1], p) <= 0:
                half.pop()
            half.append(p)
        hull += half[:-1]
    x, y = np.array(hull).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _turn(a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
