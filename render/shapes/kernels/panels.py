"""Panels cut out of a skin along curves, and made solid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from render.shapes.kernels.clip import clipped
from render.shapes.kernels.implicit import Field, gradient, projected
from render.shapes.kernels.patches import Patch, connected
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
        """The parts inside and outside a region, `gap` apart; the strip between them is lost."""
        return self.clipped(region, -gap / 2), self.clipped(lambda p: -region(p), -gap / 2)

    def clipped(self, region: Field, level: float = 0.0) -> Skin:
        """The part where the region's value is below `level`; cut edges lie on the body again."""
        value = region(self.points) - level
        value[np.abs(value) < _SNAP] = 0.0
        triangles, added = clipped(self.triangles, self.points, value)
        points = np.concatenate([self.points, projected(self.body, added, 2)])
        used, triangles = np.unique(triangles[_areas(points, triangles) > 5e-13], return_inverse=True)
        return Skin(self.body, points[used], triangles.reshape(-1, 3))

    def whole(self) -> Skin:
        """Without splinters; a vertex at which only corners touch becomes one vertex per fan around it."""
        count = len(self.triangles)
        first, second = _shared_sides(self.triangles)
        piece = connected(count, first % count, second % count)
        area = np.bincount(piece, _areas(self.points, self.triangles))
        triangles = self.triangles[(area >= _SPLINTER)[piece]]
        # A side starts at the corner of its number, and its neighbour's runs the other way.
        corners, count = triangles.T.ravel(), 3 * len(triangles)
        first, second = _shared_sides(triangles)
        starts = np.concatenate([first, (first + len(triangles)) % count])
        fan = connected(count, starts, np.concatenate([(second + len(triangles)) % count, second]))
        vertex = corners[np.unique(fan, return_index=True)[1]]
        points = self.points[vertex]
        again = np.setdiff1d(np.arange(len(points)), np.unique(vertex, return_index=True)[1])
        centres = np.tile(self.points[triangles].mean(axis=1), (3, 1))
        for number in again.tolist():
            points[number] += 0.05 * (centres[fan == number].mean(axis=0) - points[number])
        return Skin(self.body, points, fan.reshape(3, -1).T)

    def solid(self, thickness: float, sunk: float = 0.0) -> list[Patch]:
        """A closed shell, its outer side `sunk` below the skin: outer side, inner side, and edges between."""
        slope = gradient(self.body, self.points)
        inward = -slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-12)
        outer, inner = self.points + inward * sunk, self.points + inward * (sunk + thickness)
        n = len(outer)
        rim = np.delete(_sides(self.triangles), np.concatenate(_shared_sides(self.triangles)), axis=0)
        walls = np.stack([rim[:, 1], rim[:, 0], rim[:, 0] + n, rim[:, 1] + n], axis=1)
        both = np.concatenate([outer, inner])
        return [Patch(outer, self.triangles), Patch(inner, self.triangles[:, ::-1]), Patch(both, walls)]


def _areas(points: FloatArray, triangles: IntArray) -> FloatArray:
    a, b, c = (points[triangles[:, i]] for i in range(3))
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)


def _sides(triangles: IntArray) -> IntArray:
    """(3 m, 2): the triangles' first sides, then their second, then their third."""
    return np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])


def _shared_sides(triangles: IntArray) -> tuple[IntArray, IntArray]:
    """Numbers in `_sides` of the pairs of sides that lie on one edge."""
    _, edge = np.unique(np.sort(_sides(triangles), axis=1), axis=0, return_inverse=True)
    order = np.argsort(edge.ravel(), kind="stable")
    same = np.diff(edge.ravel()[order]) == 0
    return order[:-1][same], order[1:][same]
