"""Panels cut out of a skin along curves, and made solid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from render.shapes.kernels.implicit import Field, gradient, projected
from render.shapes.kernels.patches import Patch
from render.shapes.kernels.surface import FloatArray, IntArray

#: Pieces smaller than this, in squared body lengths, are splinters left between two cuts.
_SPLINTER = 3e-5
#: A vertex nearer to a cut than this share of the shortest edges is moved onto it: no splinters.
_SNAP = 2e-4


@dataclass(frozen=True, eq=False)
class Skin:
    """A piece of a body's surface. points: (n, 3) on the body's zero; triangles: (m, 3), outward."""

    body: Field
    points: FloatArray
    triangles: IntArray

    def split(self, region: Field, gap: float) -> tuple[Skin, Skin]:
        """What lies inside a region and what outside, `gap` apart; the strip between is lost."""
        return self.clipped(region, -gap / 2), self.clipped(lambda p: -region(p), -gap / 2)

    def clipped(self, region: Field, level: float = 0.0) -> Skin:
        """The part where the region's value is below `level`; cut edges lie on the body again."""
        if not len(self.triangles):
            return self
        value = region(self.points) - level
        value[np.abs(value) < _SNAP] = 0.0
        inside = value[self.triangles] < 0
        touched = (value[self.triangles] <= 0).sum(axis=1)
        whole = self.triangles[(touched == 3) & inside.any(axis=1)]
        cut = inside.any(axis=1) & (touched < 3)
        pieces, added = _cut(self.triangles[cut], value, self.points)
        points = np.concatenate([self.points, projected(self.body, added, 2)])
        return Skin(self.body, points, np.concatenate([whole, pieces])).compact()

    def compact(self) -> Skin:
        """Without the vertices that no triangle uses, and without triangles of no area."""
        a, b, c = (self.points[self.triangles[:, i]] for i in range(3))
        fair = np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-12
        used, again = np.unique(self.triangles[fair], return_inverse=True)
        return Skin(self.body, self.points[used], again.reshape(-1, 3))

    def whole(self) -> Skin:
        """Without splinters, and with vertices where only corners touch taken apart."""
        sides = np.sort(_sides(self.triangles), axis=1)
        _, edge = np.unique(sides, axis=0, return_inverse=True)
        owner = np.tile(np.arange(len(self.triangles)), 3)
        links = coo_matrix((np.ones(len(edge)), (owner, edge))).tocsr()
        _, piece = connected_components(links @ links.T, directed=False)
        a, b, c = (self.points[self.triangles[:, i]] for i in range(3))
        area = np.bincount(piece, np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)
        whole = Skin(self.body, self.points, self.triangles[(area >= _SPLINTER)[piece]]).compact()
        return whole._unpinched()

    def _unpinched(self) -> Skin:
        """Duplicate each vertex at which only corners touch, once per fan of triangles around it."""
        rim = _rim(self.triangles, len(self.points))
        out = np.bincount(rim[:, 0], minlength=len(self.points))
        points, triangles = list(self.points), self.triangles.copy()
        for vertex in np.flatnonzero(out > 1).tolist():
            mine = np.flatnonzero((triangles == vertex).any(axis=1))
            for fan in _fans(triangles[mine], vertex)[1:]:
                rows = mine[fan]
                middle = np.mean([points[k] for k in triangles[rows].ravel()], axis=0)
                triangles[rows] = np.where(triangles[rows] == vertex, len(points), triangles[rows])
                points.append(points[vertex] + 0.05 * (middle - points[vertex]))
        return Skin(self.body, np.array(points), triangles)

    def solid(self, thickness: float, sunk: float = 0.0) -> list[Patch]:
        """A closed shell, its outer side `sunk` below the skin: outer side, inner side, and edges between."""
        inward = -gradient(self.body, self.points)
        outer, inner = self.points + inward * sunk, self.points + inward * (sunk + thickness)
        n = len(outer)
        rim = _rim(self.triangles, n)
        walls = np.stack([rim[:, 1], rim[:, 0], rim[:, 0] + n, rim[:, 1] + n], axis=1)
        both = np.concatenate([outer, inner])
        return [
            Patch(outer, self.triangles),
            Patch(inner, self.triangles[:, ::-1]),
            Patch(both, walls),
        ]


def _sides(triangles: IntArray) -> IntArray:
    """(3 m, 2): the triangles' first sides, then their second, then their third."""
    return np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])


def _rim(triangles: IntArray, count: int) -> IntArray:
    """(k, 2) sides that only one triangle has, in its direction."""
    sides = _sides(triangles)
    key, mirror = sides[:, 0] * count + sides[:, 1], sides[:, 1] * count + sides[:, 0]
    return sides[~np.isin(key, mirror)]


def _fans(triangles: IntArray, vertex: int) -> list[list[int]]:
    """Groups of the triangles around a vertex that share sides with each other."""
    fans: list[tuple[set[int], list[int]]] = []
    for row, corners in enumerate(triangles.tolist()):
        others = set(corners) - {vertex}
        joined = [fan for fan in fans if fan[0] & others]
        fans = [fan for fan in fans if not fan[0] & others]
        merged = others.union(*(fan[0] for fan in joined))
        fans.append((merged, [row, *(k for fan in joined for k in fan[1])]))
    return [rows for _, rows in fans]


def _cut(triangles: IntArray, value: FloatArray, points: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the negative parts of triangles that zero crosses, and new points, numbered after `points`."""
    sign = np.sign(value[triangles])
    # Turned so that the odd one out is first: one inside (two or one new points), or one outside.
    single = (sign < 0).sum(axis=1) == 1
    odd = np.where(single, (sign < 0).argmax(axis=1), (sign > 0).argmax(axis=1))
    turned = np.take_along_axis(triangles, (odd[:, None] + np.arange(3)) % 3, axis=1)
    crossings: dict[tuple[int, int], int] = {}
    shares: list[float] = []

    def crossing(i: int, j: int) -> int:
        """The point on edge i-j where the value is zero; a vertex that is zero itself."""
        for k in (i, j):
            if value[k] == 0:
                return k
        edge = (min(i, j), max(i, j))
        if edge not in crossings:
            crossings[edge] = len(points) + len(crossings)
            shares.append(float(value[edge[0]] / (value[edge[0]] - value[edge[1]])))
        return crossings[edge]

    pieces: list[tuple[int, int, int]] = []
    for (a, b, c), alone in zip(turned.tolist(), single.tolist(), strict=True):
        ab, ac = crossing(a, b), crossing(a, c)
        pieces += [(a, ab, ac)] if alone else [(ab, b, c), (ab, c, ac)]
    ends = np.array(list(crossings), np.int64).reshape(-1, 2)
    share = np.array(shares)[:, None]
    added = points[ends[:, 0]] * (1 - share) + points[ends[:, 1]] * share
    good = [p for p in pieces if len(set(p)) == 3]
    return np.array(good, np.int64).reshape(-1, 3), added
