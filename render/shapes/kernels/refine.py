"""Finer triangles, where a flaw is to move the surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.shapes.kernels.surface import Surface

IntArray = NDArray[np.int64]
#: Triangles at most; beyond it a mesh stays as coarse as it has become.
LIMIT = 400_000
#: Cosine of the greatest angle between a face and the mean of those around a vertex that still is round.
_SMOOTH = 0.94


def refined(
    surface: Surface, longest: float, balls: tuple[tuple[float, float, float, float], ...] = ()
) -> Surface:
    """Subdivide a surface into triangles with edges of at most `longest`, up to LIMIT triangles.

    balls: (x, y, z, radius) of the regions to refine; empty: everywhere.

    An edge is halved for all its triangles or for none, so no crack opens; trimesh's `subdivide_to_size`
    opens some.
    """
    mesh = _Mesh(surface)
    while mesh.halve(longest, balls):
        pass
    return mesh.surface(surface.smooth)


class _Mesh:
    """Triangles with their values at vertices (accent) and corners (uv)."""

    def __init__(self, surface: Surface) -> None:
        self.vertices = surface.vertices
        self.smooth = surface.smooth
        self.accent = surface.accent
        self.triangles = surface.triangles
        self.uv = None if surface.uv is None else surface.uv[surface.fans]  # (t, 3, 2)

    def halve(self, longest: float, balls: tuple[tuple[float, float, float, float], ...] = ()) -> bool:
        """Halve every edge above `longest` once; False when there was none, or too many triangles already."""
        sides = np.stack([self.triangles, np.roll(self.triangles, -1, axis=1)], axis=2).reshape(-1, 2)
        edges, which = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True)
        lengths = np.linalg.norm(self.vertices[edges[:, 0]] - self.vertices[edges[:, 1]], axis=1)
        split = lengths > longest
        if balls:
            wanted = np.zeros(len(edges), bool)
            wanted[which.reshape(-1, 3)[self._near(balls)]] = True
            split &= wanted
        if not split.any() or len(self.triangles) > LIMIT // 4:
            return False
        middle = np.full(len(edges), -1)
        middle[split] = len(self.vertices) + np.arange(int(split.sum()))
        pairs = edges[split]
        self.vertices = np.concatenate([self.vertices, self._middles(pairs)])
        if self.accent is not None:
            self.accent = np.concatenate([self.accent, self.accent[pairs].mean(axis=1)])
        self._cut(middle[which.reshape(-1, 3)])
        return True

    def _middles(self, pairs: IntArray) -> NDArray[np.float64]:
        """(e, 3) middles of edges, on the curve that the normals at both ends bend (Vlachos et al. 2001).

        Else the flat pieces of a coarse round body would show where it is displaced, and only there.
        """
        a, b = self.vertices[pairs[:, 0]], self.vertices[pairs[:, 1]]
        middles = (a + b) / 2
        if not self.smooth:
            return np.asarray(middles)
        normals = self._normals()
        for ends, along in ((pairs[:, 0], b - a), (pairs[:, 1], a - b)):
            middles -= (along * normals[ends]).sum(axis=1, keepdims=True) * normals[ends] / 8
        return np.asarray(middles)

    def _normals(self) -> NDArray[np.float64]:
        """(n, 3) unit normals at vertices; 0 where an edge is sharp."""
        a, b, c = (self.vertices[self.triangles[:, i]] for i in range(3))
        faces = np.cross(b - a, c - a)
        sums = np.zeros_like(self.vertices)
        for i in range(3):
            np.add.at(sums, self.triangles[:, i], faces)
        sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-30)
        faces /= np.maximum(np.linalg.norm(faces, axis=1, keepdims=True), 1e-30)
        least = np.ones(len(sums))
        for i in range(3):
            np.minimum.at(least, self.triangles[:, i], (faces * sums[self.triangles[:, i]]).sum(axis=1))
        return np.where(least[:, None] > _SMOOTH, sums, 0.0)

    def _near(self, balls: tuple[tuple[float, float, float, float], ...]) -> NDArray[np.bool_]:
        """(t,) whether a triangle may reach into one of the balls."""
        corners = self.vertices[self.triangles]
        middles = corners.mean(axis=1)
        reach = np.linalg.norm(corners - middles[:, None], axis=2).max(axis=1)
        near = np.zeros(len(middles), bool)
        for x, y, z, radius in balls:
            near |= np.linalg.norm(middles - (x, y, z), axis=1) < radius + reach
        return near

    def _cut(self, middles: IntArray) -> None:
        """Cut every triangle by which of its edges (0-1, 1-2, 2-0) have a middle vertex (-1: none)."""
        has = middles >= 0
        triangles, uvs = [], []
        for pattern in range(8):
            marks = [bool(pattern & 1), bool(pattern & 2), bool(pattern & 4)]
            chosen = (has == marks).all(axis=1)
            if not chosen.any():
                continue
            # Six points of a triangle: corners 0-2, middles 3-5.
            points = np.concatenate([self.triangles[chosen], middles[chosen]], axis=1)
            pieces = np.array(_PIECES[pattern])
            triangles.append(points[:, pieces].reshape(-1, 3))
            if self.uv is not None:
                corner = self.uv[chosen]
                six = np.concatenate([corner, (corner + np.roll(corner, -1, axis=1)) / 2], axis=1)
                uvs.append(six[:, pieces].reshape(-1, 3, 2))
        self.triangles = np.concatenate(triangles)
        if self.uv is not None:
            self.uv = np.concatenate(uvs)

    def surface(self, smooth: bool) -> Surface:
        uv = None if self.uv is None else self.uv.reshape(-1, 2)
        sizes = np.full(len(self.triangles), 3)
        return Surface(self.vertices, self.triangles.ravel(), sizes, self.accent, uv, smooth)


#: Edges with a middle (bit i: edge from corner i to i + 1) -> triangles of points 0-2 (corners), 3-5
#: (middles).
_PIECES = {
    0b000: [(0, 1, 2)],
    0b001: [(0, 3, 2), (3, 1, 2)],
    0b010: [(0, 1, 4), (0, 4, 2)],
    0b100: [(0, 1, 5), (5, 1, 2)],
    0b011: [(3, 1, 4), (0, 3, 4), (0, 4, 2)],
    0b110: [(4, 2, 5), (1, 4, 5), (0, 1, 5)],
    0b101: [(0, 3, 5), (3, 1, 5), (5, 1, 2)],
    0b111: [(0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)],
}
