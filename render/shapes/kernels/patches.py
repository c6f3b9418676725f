"""Pieces of a surface, and joining them: their edges are welded where they meet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from render.shapes.kernels.surface import FloatArray, IntArray, Surface, polygons

#: Points nearer than this, in shape units, are merged; the finest detail is a hundred times larger.
WELD = 1e-6


@dataclass(frozen=True, eq=False)
class Patch:
    """A piece of a surface.

    points: (n, 3).
    faces: (m, 3) or (m, 4), counter-clockwise from outside.
    uv: (n, 2) lengths in shape units, so that a texture keeps its proportions. None: every face is projected
        along the axis closest to its normal.
    accent: (n,), or None for 0.
    """

    points: FloatArray
    faces: IntArray
    uv: FloatArray | None = None
    accent: FloatArray | None = None

    def moved(self, by: Sequence[float]) -> Patch:
        """Return the piece translated."""
        return replace(self, points=self.points + np.asarray(by, float))

    def turned(self, matrix: FloatArray) -> Patch:
        """Return the piece rotated by (3, 3)."""
        return replace(self, points=self.points @ matrix.T)

    def flipped(self) -> Patch:
        """Return the piece facing the other way."""
        return replace(self, faces=self.faces[:, ::-1])


def grid(
    points: FloatArray,
    uv: FloatArray | None = None,
    accent: FloatArray | None = None,
    *,
    around: bool = False,
) -> Patch:
    """Return quads between rows of points (rows, columns, 3).

    The outward direction is the cross product of the directions along a row and along a column.

    around: every row is a closed loop; its first point is repeated for a seam in the texture.
    """
    if around:
        points = np.concatenate([points, points[:, :1]], axis=1)
        accent = None if accent is None else np.concatenate([accent, accent[:, :1]], axis=1)
    rows, columns = points.shape[:2]
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    quads = np.stack([first, first + 1, first + columns + 1, first + columns], axis=1)
    if uv is None:  # mean length along the rows and the columns
        along = np.linalg.norm(np.diff(points, axis=1), axis=2).mean(axis=0)
        up = np.linalg.norm(np.diff(points, axis=0), axis=2).mean(axis=1)
        uv = np.stack(np.meshgrid(np.cumsum([0.0, *along]), np.cumsum([0.0, *up])), axis=-1)
    return Patch(points.reshape(-1, 3), quads, uv.reshape(-1, 2), None if accent is None else accent.ravel())


def join(patches: Iterable[Patch], *, weld: float = WELD) -> Surface:
    """Join patches that share edges point by point into one triangle mesh; drop degenerate triangles.

    weld: points nearer than this are merged.
    """
    pieces = list(patches)
    points = np.concatenate([p.points for p in pieces])
    pairs = cKDTree(points).query_pairs(weld, output_type="ndarray")
    vertex = component_numbers(len(points), *pairs.T)
    accent = None
    if any(p.accent is not None for p in pieces):
        accent = np.zeros(vertex.max() + 1)
        every = [np.zeros(len(p.points)) if p.accent is None else p.accent for p in pieces]
        np.maximum.at(accent, vertex, np.concatenate(every))
    corners, uvs, start = [], [], 0
    for piece in pieces:
        triangles = piece.faces
        if triangles.shape[1] == 4:
            triangles = triangles[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
        joined = vertex[triangles + start]
        whole = (joined != np.roll(joined, -1, axis=1)).all(axis=1)
        corners.append(joined[whole])
        shown = _projected(piece.points[triangles]) if piece.uv is None else piece.uv[triangles]
        uvs.append(shown[whole].reshape(-1, 2))
        start += len(piece.points)
    first_of = np.unique(vertex, return_index=True)[1]
    return polygons(points[first_of], np.concatenate(corners), accent=accent, uv=np.concatenate(uvs))


def component_numbers(count: int, starts: IntArray, ends: IntArray) -> IntArray:
    """Return the number (count,) of the connected component of each node; starts, ends: (k,) links."""
    links = coo_matrix((np.ones(len(starts)), (starts, ends)), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)


def _projected(corners: FloatArray) -> FloatArray:
    """Project triangles (m, 3, 3) to (m, 3, 2), each along the axis closest to its normal."""
    a, b, c = corners.swapaxes(0, 1)
    axis = np.abs(np.cross(b - a, c - a)).argmax(axis=1)
    plane = np.array([[1, 2], [0, 2], [0, 1]])[axis]
    return np.take_along_axis(corners, np.repeat(plane[:, None, :], 3, axis=1), axis=2)


def centre_surfaces(surfaces: dict[str, Surface], scale: float = 1.0) -> dict[str, Surface]:
    """Centre the joint bounding box of surfaces at the origin, then scale."""
    low = np.min([s.vertices.min(axis=0) for s in surfaces.values()], axis=0)
    high = np.max([s.vertices.max(axis=0) for s in surfaces.values()], axis=0)
    return {
        name: replace(
            s, vertices=(s.vertices - (low + high) / 2) * scale, uv=None if s.uv is None else s.uv * scale
        )
        for name, s in surfaces.items()
    }
