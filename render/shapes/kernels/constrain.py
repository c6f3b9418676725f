"""Sides that a Delaunay triangulation must have, put into it by turning its edges."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from render.shapes.kernels.surface import FloatArray, IntArray

#: Directed side of a triangle -> the triangle's third corner.
_Links = dict[tuple[int, int], int]


def constrained(points: FloatArray, triangles: IntArray, sides: Sequence[tuple[int, int]]) -> IntArray:
    """Return counter-clockwise triangles whose sides include all wanted sides.

    points: (n, 2).  triangles: a Delaunay triangulation of them.  sides: pairs of points.
    No library with a free licence makes a constrained triangulation with inner points: those of Shapely and
    mapbox_earcut take outlines only, or give slivers that a bent plate would show.

    Raises ValueError if wanted sides cross. Source: Sloan, A fast algorithm for generating constrained
    Delaunay triangulations, Computers & Structures 47 (1993).
    """
    a, b, c = (points[triangles[:, i]] for i in range(3))
    clockwise = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) < (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    triangles = np.where(clockwise[:, None], triangles[:, ::-1], triangles)
    links: _Links = {}
    for i, j, k in triangles.tolist():
        links[i, j], links[j, k], links[k, i] = k, i, j
    missing = [side for side in sides if side not in links]
    if not missing:
        return triangles
    fixed = {tuple(sorted(side)) for side in sides}
    for side in missing:
        _recover(points, links, side, fixed)
    return np.array([(i, j, k) for (i, j), k in links.items() if i < j and i < k], np.int64)


def _recover(points: FloatArray, links: _Links, side: tuple[int, int], fixed: set[tuple[int, ...]]) -> None:
    """Turn the edges that cross a side until none does."""
    queue = deque(_crossing(points, links, side))
    if any(edge in fixed for edge in queue):
        raise ValueError(f"expected outlines that do not cross, got one that does at {points[side[0]]}")
    patience = 50 * len(queue) + 50
    while queue and patience:
        patience -= 1
        i, j = queue.popleft()
        k, m = links[i, j], links[j, i]
        if not _cross(points, (i, j), (k, m)):  # turning it would fold the mesh; its neighbours go first
            queue.append((i, j))
            continue
        del links[i, j], links[j, i]
        links[i, m], links[m, k], links[k, i] = k, i, m
        links[m, j], links[j, k], links[k, m] = k, m, j
        if _cross(points, (min(k, m), max(k, m)), side):
            queue.append((min(k, m), max(k, m)))
    if side not in links:
        raise ValueError(f"expected outlines that do not cross, got one that does at {points[side[0]]}")


def _crossing(points: FloatArray, links: _Links, side: tuple[int, int]) -> list[tuple[int, int]]:
    return [edge for edge in links if edge[0] < edge[1] and _cross(points, edge, side)]


def _cross(points: FloatArray, one: tuple[int, int], two: tuple[int, int]) -> bool:
    """Whether two edges cross between their ends."""
    if set(one) & set(two):
        return False
    (a, b), (c, d) = points[list(one)].tolist(), points[list(two)].tolist()
    return _left(a, b, c) * _left(a, b, d) < 0 and _left(c, d, a) * _left(c, d, b) < 0


def _left(a: list[float], b: list[float], c: list[float]) -> float:
    """Positive when c lies to the left of a -> b."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
