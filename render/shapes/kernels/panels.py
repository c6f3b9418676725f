"""Cuts panels out of a skin along curves, and makes them solid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from render.shapes.kernels.clip import clip_triangles
from render.shapes.kernels.implicit import Field, gradient, project_onto_surface
from render.shapes.kernels.patches import Patch, component_numbers
from render.shapes.kernels.surface import FloatArray, IntArray

#: Pieces with a smaller area than this, in squared body lengths, are splinters between two cuts.
_SPLINTER = 3e-5
#: A vertex nearer than this to a cut is taken as on it, which avoids splinters.
_SNAP = 2e-4


@dataclass(frozen=True, eq=False)
class Skin:
    """A piece of the surface of a body.

    body: implicit function.
    points: (n, 3), where it is 0.
    triangles: (m, 3), facing outward.
    """

    body: Field
    points: FloatArray
    triangles: IntArray

    def split(self, region: Field, gap: float) -> tuple[Skin, Skin]:
        """Return the parts inside and outside a region; a strip `gap` wide between them is removed."""
        return self.clipped(region, -gap / 2), self.clipped(lambda p: -region(p), -gap / 2)

    def clipped(self, region: Field, level: float = 0.0) -> Skin:
        """Return the part where the region is below `level`; new points are projected onto the body."""
        value = region(self.points) - level
        value[np.abs(value) < _SNAP] = 0.0
        triangles, added = clip_triangles(self.triangles, self.points, value)
        points = np.concatenate([self.points, project_onto_surface(self.body, added, 2)])
        used, triangles = np.unique(triangles[_areas(points, triangles) > 5e-13], return_inverse=True)
        return Skin(self.body, points[used], triangles.reshape(-1, 3))

    def without_splinters(self) -> Skin:
        """Return the skin without splinters; split a vertex at which only corners touch, one per fan."""
        count = len(self.triangles)
        first, second = _shared_sides(self.triangles)
        piece = component_numbers(count, first % count, second % count)
        area = np.bincount(piece, _areas(self.points, self.triangles))
        triangles = self.triangles[(area >= _SPLINTER)[piece]]
        # Side i starts at corner i, and the same side of the neighbouring triangle runs the other way.
        corners, count = triangles.T.ravel(), 3 * len(triangles)
        first, second = _shared_sides(triangles)
        starts = np.concatenate([first, (first + len(triangles)) % count])
        fan = component_numbers(count, starts, np.concatenate([(second + len(triangles)) % count, second]))
        vertex = corners[np.unique(fan, return_index=True)[1]]
        points = self.points[vertex]
        duplicates = np.setdiff1d(np.arange(len(points)), np.unique(vertex, return_index=True)[1])
        centres = np.tile(self.points[triangles].mean(axis=1), (3, 1))
        for number in duplicates.tolist():
            points[number] += 0.05 * (centres[fan == number].mean(axis=0) - points[number])
        return Skin(self.body, points, fan.reshape(3, -1).T)

    def solid(self, thickness: float, sunk: float = 0.0) -> list[Patch]:
        """Return a closed shell: an outer side `sunk` below the skin, an inner side, and walls between."""
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
    """Return (3 m, 2): the first sides of all triangles, then the second, then the third."""
    return np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])


def _shared_sides(triangles: IntArray) -> tuple[IntArray, IntArray]:
    """Return the pairs of sides that share an edge, as indices into `_sides`."""
    _, edge = np.unique(np.sort(_sides(triangles), axis=1), axis=0, return_inverse=True)
    order = np.argsort(edge.ravel(), kind="stable")
    same = np.diff(edge.ravel()[order]) == 0
    return order[:-1][same], order[1:][same]
