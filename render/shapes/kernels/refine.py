"""Refines triangles where a flaw displaces the surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.shapes.kernels.surface import FloatArray, IntArray, Surface

Balls = tuple[tuple[float, float, float, float], ...]
#: Greatest number of triangles; refinement stops before it.
LIMIT = 400_000
#: A vertex is smooth if the cosine between each of its faces and their mean normal is above this.
_SMOOTH = 0.94
#: Split edges (bit i: the edge from corner i to i + 1) -> triangles of corners 0-2 and midpoints 3-5.
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


def refine_surface(surface: Surface, longest: float, balls: Balls = ()) -> Surface:
    """Subdivide a surface into triangles with edges of at most `longest`, up to LIMIT triangles.

    balls: (x, y, z, radius) of the regions to refine; empty: everywhere.

    An edge is split in all its triangles or in none, so there are no cracks. trimesh's `subdivide_to_size`
    opens cracks.
    """
    vertices, accent, triangles = surface.vertices, surface.accent, surface.triangles
    uv = None if surface.uv is None else surface.uv[surface.fans]  # (t, 3, 2)
    while len(triangles) <= LIMIT // 4:
        sides = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=2).reshape(-1, 2)
        edges, side_of = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True)
        side_of = side_of.reshape(-1, 3)
        split = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1) > longest
        if balls:
            split &= np.isin(np.arange(len(edges)), side_of[_near(vertices[triangles], balls)])
        if not split.any():
            break
        middle = np.full(len(edges), -1)
        middle[split] = len(vertices) + np.arange(int(split.sum()))
        pairs = edges[split]
        middles = _middles(vertices, triangles, pairs, surface.smooth)
        vertices = np.concatenate([vertices, middles])
        if accent is not None:
            accent = np.concatenate([accent, accent[pairs].mean(axis=1)])
        triangles, uv = _cut(triangles, uv, middle[side_of])
    flat_uv = None if uv is None else uv.reshape(-1, 2)
    return Surface(vertices, triangles.ravel(), np.full(len(triangles), 3), accent, flat_uv, surface.smooth)


def _middles(vertices: FloatArray, triangles: IntArray, pairs: IntArray, smooth: bool) -> FloatArray:
    """Return midpoints (e, 3) of edges; on smooth surfaces on a curve by the normals (Vlachos et al. 2001).

    With straight midpoints, the facets of a coarse round body would show where it is displaced.
    """
    a, b = vertices[pairs[:, 0]], vertices[pairs[:, 1]]
    middles = (a + b) / 2
    if smooth:
        normals = _normals(vertices, triangles)
        for ends, along in ((pairs[:, 0], b - a), (pairs[:, 1], a - b)):
            middles -= (along * normals[ends]).sum(axis=1, keepdims=True) * normals[ends] / 8
    return np.asarray(middles)


def _normals(vertices: FloatArray, triangles: IntArray) -> FloatArray:
    """Return the unit normals (n, 3) at vertices; 0 at sharp edges."""
    a, b, c = vertices[triangles].swapaxes(0, 1)
    faces = np.cross(b - a, c - a)
    sums = np.zeros_like(vertices)
    np.add.at(sums, triangles, faces[:, None])
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-30)
    faces /= np.maximum(np.linalg.norm(faces, axis=1, keepdims=True), 1e-30)
    least = np.ones(len(sums))
    np.minimum.at(least, triangles, (faces[:, None] * sums[triangles]).sum(axis=2))
    return np.where(least[:, None] > _SMOOTH, sums, 0.0)


def _near(corners: FloatArray, balls: Balls) -> NDArray[np.bool_]:
    """Return (t,) whether a triangle (t, 3, 3) may reach into one of the balls."""
    middles = corners.mean(axis=1)
    reach = np.linalg.norm(corners - middles[:, None], axis=2).max(axis=1)
    inside = [np.linalg.norm(middles - ball[:3], axis=1) < ball[3] + reach for ball in balls]
    return np.asarray(np.logical_or.reduce(inside))


def _cut(triangles: IntArray, uv: FloatArray | None, middles: IntArray) -> tuple[IntArray, FloatArray | None]:
    """Split triangles; middles: (t, 3) midpoint vertex of the edges 0-1, 1-2 and 2-0, -1 for none."""
    pattern = (middles >= 0) @ (1, 2, 4)
    points = np.concatenate([triangles, middles], axis=1)
    pieces = [points[pattern == key][:, cut].reshape(-1, 3) for key, cut in _PIECES.items()]
    if uv is None:
        return np.concatenate(pieces), None
    six = np.concatenate([uv, (uv + np.roll(uv, -1, axis=1)) / 2], axis=1)
    uvs = [six[pattern == key][:, cut].reshape(-1, 3, 2) for key, cut in _PIECES.items()]
    return np.concatenate(pieces), np.concatenate(uvs)
