"""Constrained Delaunay triangulation: inserts required sides by edge flips."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from render.shapes.kernels.surface import FloatArray, IntArray

#: Directed side of a triangle -> the triangle's third corner.
_Links = dict[tuple[int, int], int]


def constrain_triangulation(
    points: FloatArray, triangles: IntArray, sides: Sequence[tuple[int, int]]
) -> IntArray:
    """Return counter-clockwise triangles whose sides include all required sides.

    points: (n, 2).
    triangles: a Delaunay triangulation of the points.
    sides: pairs of points.

    No library with a free licence makes a constrained triangulation with inner points. Those of Shapely and
    mapbox_earcut take outlines only, or give slivers, which would show on a bent plate.

    Raises ValueError if required sides cross. Source: Sloan, A fast algorithm for generating constrained
    Delaunay triangulations, Computers & Structures 47 (1993).
    """
    clockwise = _orientation(*points[triangles].swapaxes(0, 1)) < 0
    triangles = np.where(clockwise[:, None], triangles[:, ::-1], triangles)
    links: _Links = {}
    for i, j, k in triangles.tolist():
        links[i, j], links[j, k], links[k, i] = k, i, j
    missing = [side for side in sides if side not in links]
    if not missing:
        return triangles
    fixed = {tuple(sorted(side)) for side in sides}
    for side in missing:
        _insert_side(points, links, side, fixed)
    return np.array([(i, j, k) for (i, j), k in links.items() if i < j and i < k], np.int64)


def _insert_side(
    points: FloatArray, links: _Links, side: tuple[int, int], fixed: set[tuple[int, ...]]
) -> None:
    """Flip the edges that cross a side until none does."""
    edges = np.array([edge for edge in links if edge[0] < edge[1]])
    queue = deque((int(i), int(j)) for i, j in edges[_cross(points, edges, side)])
    flips_left = 0 if fixed.intersection(queue) else 50 * len(queue) + 50
    while queue and flips_left:
        flips_left -= 1
        i, j = queue.popleft()
        k, m = links[i, j], links[j, i]
        if not _cross(points, np.array([(i, j)]), (k, m)).any():
            queue.append((i, j))  # flipping it would fold the mesh: flip its neighbours first
            continue
        del links[i, j], links[j, i]
        links[i, m], links[m, k], links[k, i] = k, i, m
        links[m, j], links[j, k], links[k, m] = k, m, j
        turned = (min(k, m), max(k, m))
        if _cross(points, np.array([turned]), side).any():
            queue.append(turned)
    if side not in links:
        raise ValueError(f"expected outlines that do not cross, got a crossing at {points[side[0]]}")


def _cross(points: FloatArray, edges: IntArray, other: tuple[int, int]) -> NDArray[np.bool_]:
    """Return (k,) whether edges (k, 2) cross another edge between their ends."""
    a, b = points[edges].swapaxes(0, 1)
    c, d = points[list(other)]
    disjoint = ~np.isin(edges, other).any(axis=1)
    return np.asarray(
        disjoint
        & (_orientation(a, b, c) * _orientation(a, b, d) < 0)
        & (_orientation(c, d, a) * _orientation(c, d, b) < 0)
    )


def _orientation(a: FloatArray, b: FloatArray, c: FloatArray) -> FloatArray:
    """Return a positive number where c lies to the left of a -> b."""
    (ax, ay), (bx, by), (cx, cy) = a.T, b.T, c.T
    return np.asarray((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
