"""Flat outlines: making, subdividing and insetting them, and triangulating them with holes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import Delaunay, cKDTree

from render.shapes.kernels.constrain import constrain_triangulation
from render.shapes.kernels.surface import FloatArray, IntArray


def circle(radius: float, count: int, centre: tuple[float, float] = (0.0, 0.0)) -> FloatArray:
    """Return `count` points (count, 2) of a circle, counter-clockwise."""
    angle = np.arange(count) * (2 * np.pi / count)
    return np.asarray(np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius + np.asarray(centre))


def rounded_rectangle(
    low: Sequence[float] | FloatArray, high: Sequence[float] | FloatArray, radius: float, arc: int
) -> FloatArray:
    """Return points (4 (arc + 1), 2), counter-clockwise from the upper right; arc: steps per corner."""
    (x0, y0), (x1, y1) = low, high
    corners = ((x1, y1, 0.0), (x0, y1, 0.5), (x0, y0, 1.0), (x1, y0, 1.5))
    step = np.linspace(0.0, 0.5, arc + 1)
    pieces = []
    for x, y, start in corners:
        angle = (start + step) * np.pi
        inner = np.array([x - radius * np.sign(x - (x0 + x1) / 2), y - radius * np.sign(y - (y0 + y1) / 2)])
        pieces.append(inner + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    return np.concatenate(pieces)


def densify(loop: FloatArray, spacing: float) -> FloatArray:
    """Add points to a closed outline so that no side is longer than `spacing`."""
    ring = shapely.segmentize(shapely.linearrings(loop), spacing * (1 + 1e-9))
    return np.asarray(shapely.get_coordinates(ring)[:-1])


def inset(loop: FloatArray, distance: float) -> FloatArray:
    """Move every point of a counter-clockwise outline inward along the bisector of its corner."""
    before, after = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    before = before / np.linalg.norm(before, axis=1, keepdims=True)
    after = after / np.linalg.norm(after, axis=1, keepdims=True)
    normal = np.stack([-(before + after)[:, 1], (before + after)[:, 0]], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    lean = np.clip(normal[:, 0] * -after[:, 1] + normal[:, 1] * after[:, 0], 0.3, 1.0)
    return np.asarray(loop + normal * (distance / lean)[:, None])


def inside(points: FloatArray, outer: FloatArray, holes: Sequence[FloatArray] = ()) -> NDArray[np.bool_]:
    """Return whether points (..., 2) are inside an outline and outside its holes."""
    polygon = shapely.Polygon(outer, holes)
    shapely.prepare(polygon)
    return np.asarray(shapely.contains_xy(polygon, points[..., 0], points[..., 1]))


def fill(
    outer: FloatArray, holes: Sequence[FloatArray] = (), inner: FloatArray | None = None
) -> tuple[FloatArray, IntArray]:
    """Return a constrained Delaunay triangulation of an outline with holes: points and triangles.

    The points are those of the outline, of the holes, and those of `inner` that are not close to either.
    Triangles are counter-clockwise.

    Raises ValueError if outlines cross each other or themselves.
    """
    loops = [outer, *holes]
    edge = np.concatenate(loops)
    points = edge
    if inner is not None and len(inner):
        after = [np.linalg.norm(np.roll(loop, -1, axis=0) - loop, axis=1) for loop in loops]
        reach = np.concatenate([np.maximum(side, np.roll(side, 1)) for side in after])
        near = cKDTree(inner).query_ball_point(edge, np.maximum(0.75 * reach, 1e-4))
        within = inside(inner, outer, holes)
        within[np.concatenate(near).astype(np.int64)] = False
        points = np.concatenate([edge, inner[within]])
    low, high = outer.min(axis=0), outer.max(axis=0)
    # Add distant points all around, so that no side of the outline is on the convex hull, where slivers form.
    ghosts = circle(3 * float(np.linalg.norm(high - low)), 16) + (low + high) / 2
    every = np.concatenate([points, ghosts])
    simplices = constrain_triangulation(every, np.asarray(Delaunay(every).simplices, np.int64), _sides(loops))
    simplices = simplices[(simplices < len(points)).all(axis=1)]
    return points, simplices[inside(points[simplices].mean(axis=1), outer, holes)]


def _sides(loops: Sequence[FloatArray]) -> list[tuple[int, int]]:
    """Return the sides of all outlines as pairs of indices into the concatenated loops."""
    starts = np.cumsum([0, *(len(loop) for loop in loops)])
    numbers = [np.arange(a, b) for a, b in pairwise(starts)]
    return [side for loop in numbers for side in zip(loop.tolist(), np.roll(loop, -1).tolist(), strict=True)]


def lattice(
    low: Sequence[float] | FloatArray, high: Sequence[float] | FloatArray, spacing: float
) -> FloatArray:
    """Return the points (n, 2) of a square grid that fills a rectangle."""
    axes = [np.linspace(a, b, max(2, round((b - a) / spacing) + 1)) for a, b in zip(low, high, strict=True)]
    return np.asarray(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2))
