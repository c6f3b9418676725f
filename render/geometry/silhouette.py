"""Silhouette of an object, regardless of occlusion and image borders.

It is the union of the projected triangles, computed by winding numbers. If all triangles have the same
orientation in the image, the directed sides of neighbours cancel. The remaining sides are rasterised, row by
row, on a grid over the bounding box of the silhouette.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from render.core.spec import CameraSpec, Pose
from render.geometry.projection import NEAR_M, to_camera, to_pixels
from render.geometry.transforms import matrix
from render.shapes.kernels.clip import clip_triangles
from render.shapes.kernels.surface import FloatArray, IntArray, Surface

_Sides = tuple[IntArray, IntArray, FloatArray, FloatArray]
#: Rows and columns of the grid; the relative error of the area is about 0.001.
_CELLS = 256
#: How far beyond the image a silhouette is computed, in image sizes.
_REACH = 2.0
#: Pieces into which a side is cut if the lens has distortion.
_PIECES = 24
_SIDES_CACHE: WeakKeyDictionary[Surface, _Sides] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Silhouette:
    """Silhouette of an object, also outside the image.

    area_px: area of the whole silhouette.
    inside_px: area inside the image.
    box: x0, y0, x1, y1 of the whole silhouette, pixels.
    grid: (rows, columns) whether each cell of `box` is covered.
    """

    area_px: float
    inside_px: float
    box: tuple[float, float, float, float]
    grid: NDArray[np.bool_]

    def covers(self, pixels: FloatArray) -> NDArray[np.bool_]:
        """Return whether points (n, 2), in pixels, lie in the silhouette; NaN does not."""
        x0, y0, x1, y1 = self.box
        cells = (pixels - (x0, y0)) / (max(x1 - x0, 1e-9), max(y1 - y0, 1e-9)) * _CELLS
        inside = ((cells >= 0) & (cells < _CELLS)).all(axis=1)
        column, row = np.where(inside[:, None], cells, 0).astype(np.int64).T
        return np.asarray(inside & self.grid[row, column])


def silhouette(
    camera: CameraSpec, width: int, height: int, pieces: Sequence[tuple[Surface, Pose]]
) -> Silhouette | None:
    """Return the joint silhouette of surfaces at their poses; None if nothing is in front of the camera."""
    outlines = [_outline(camera, width, height, *piece) for piece in pieces]
    starts, ends = (np.concatenate([f[i] for f in outlines]) for i in (0, 1))
    weights = np.concatenate([f[2] for f in outlines])
    if not len(starts):
        return None
    low = np.maximum(np.minimum(starts, ends).min(axis=0), (-_REACH * width, -_REACH * height))
    high = np.minimum(np.maximum(starts, ends).max(axis=0), ((1 + _REACH) * width, (1 + _REACH) * height))
    if not (high > low).all():
        return None
    cell = (high - low) / _CELLS
    grid = _fill_by_winding((starts - low) / cell, (ends - low) / cell, weights)
    size = float(cell[0] * cell[1])
    edges = np.clip(low + np.arange(_CELLS + 1)[:, None] * cell, 0, (width, height))
    across, down = (np.diff(edges, axis=0) / cell).T  # share of each column and row that is inside the image
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Silhouette(float(grid.sum()) * size, float((grid * across).sum(axis=1) @ down) * size, box, grid)


def _outline(
    camera: CameraSpec, width: int, height: int, surface: Surface, pose: Pose
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the directed sides that do not cancel: starts (m, 2) and ends (m, 2) in pixels, weights (m,)."""
    turn, at = matrix(pose)
    axes, position = matrix(camera.pose)
    depth = _dot(surface.vertices, turn.T @ -axes[:, 2]) - (at - position) @ axes[:, 2]
    if (depth <= NEAR_M).all():
        return np.empty((0, 2)), np.empty((0, 2)), np.empty(0)
    if (depth <= NEAR_M).any():
        local = to_camera(camera, surface.vertices @ turn.T + at)
        triangles, added = clip_triangles(surface.triangles, local, 1.0001 * NEAR_M - local[:, 2])
        corners = np.concatenate([local, added])[triangles]
        flat = corners[..., :2] / corners[..., 2:]
        a, b = flat.reshape(-1, 2), np.roll(flat, -1, axis=1).reshape(-1, 2)
        u, v = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
        weights = np.repeat(np.sign(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]), 3)
    else:
        ends, wound = _contour_sides(surface, np.linalg.solve(turn, position - at))
        # A mirroring pose reverses the orientation of the triangles.
        weights = wound * -np.sign(np.linalg.det(turn))
        points, where = np.unique(ends, return_inverse=True)
        local = to_camera(camera, surface.vertices[points] @ turn.T + at)
        flat = (local[:, :2] / local[:, 2:])[where.reshape(-1, 2)]
        a, b = flat[:, 0], flat[:, 1]
    if not any(camera.lens.k):
        return to_pixels(camera, width, height, a), to_pixels(camera, width, height, b), weights
    steps = np.linspace(0, 1, _PIECES + 1)[:, None]
    # Start at the same end for both triangles of a side, so that both give the same pieces.
    swap = (a[:, 0] > b[:, 0]) | ((a[:, 0] == b[:, 0]) & (a[:, 1] > b[:, 1]))
    first, last = np.where(swap[:, None], b, a), np.where(swap[:, None], a, b)
    points = (first[:, None] * (1 - steps) + last[:, None] * steps).reshape(-1, 2)
    distorted = to_pixels(camera, width, height, points).reshape(-1, _PIECES + 1, 2)
    signed = np.repeat(np.where(swap, -weights, weights), _PIECES)
    return distorted[:, :-1].reshape(-1, 2), distorted[:, 1:].reshape(-1, 2), signed


def _dot(points: FloatArray, direction: FloatArray) -> FloatArray:
    """Return the dot products (n,) of many points with one direction.

    Not a matrix product: the threads of BLAS would compete with those of Cycles in other processes.
    """
    x, y, z = direction
    return np.asarray(points[:, 0] * x + points[:, 1] * y + points[:, 2] * z)


def _contour_sides(surface: Surface, eye: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return ends (e, 2) and weights (e,) of the sides that do not cancel, seen from `eye`."""
    # The cache holds weak references: a surface refined around a flaw has 100,000 triangles and should be
    # freed with its scene.
    if surface not in _SIDES_CACHE:
        _SIDES_CACHE[surface] = _sides(surface)
    ends, side_of, direction, offsets = _SIDES_CACHE[surface]
    facing = np.sign(_dot(surface.normals, eye) - offsets)
    wound = np.bincount(side_of, direction * np.repeat(facing, 3), len(ends)).astype(np.float64)
    left = np.abs(wound) > 0.5
    return ends[left], wound[left]


def _sides(surface: Surface) -> _Sides:
    """Return the sides of a surface.

    The arrays are: ends (e, 2) of all sides; the number (3 t,) and the direction (3 t,) of each side of each
    triangle; offsets (t,) of the planes of the triangles along their normals.
    """
    a = surface.triangles.ravel()
    b = np.roll(surface.triangles, -1, axis=1).ravel()
    low, high = np.minimum(a, b), np.maximum(a, b)
    keys, side_of = np.unique(low * len(surface.vertices) + high, return_inverse=True)
    ends = np.stack(np.divmod(keys, len(surface.vertices)), axis=1)
    offsets = (surface.normals * surface.vertices[surface.triangles[:, 0]]).sum(axis=1)
    return ends, side_of, np.where(a < b, 1.0, -1.0), offsets


def _fill_by_winding(starts: FloatArray, ends: FloatArray, weights: FloatArray) -> NDArray[np.bool_]:
    """Return the grid cells whose centre has a winding number other than 0; coordinates are in cells."""
    down = ends[:, 1] >= starts[:, 1]
    upper, lower = np.where(down[:, None], starts, ends), np.where(down[:, None], ends, starts)
    first, last = (np.clip(np.ceil(p[:, 1] - 0.5), 0, _CELLS).astype(np.int64) for p in (upper, lower))
    count = last - first
    side = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(side)) - np.repeat(np.cumsum(count) - count, count) + first[side]
    fall = (lower - upper)[side]
    x = upper[side, 0] + (row + 0.5 - upper[side, 1]) * (fall[:, 0] / fall[:, 1])
    column = np.clip(np.ceil(x - 0.5), 0, _CELLS).astype(np.int64)
    signed = np.where(down, weights, -weights)[side]
    steps = np.bincount(row * (_CELLS + 1) + column, signed, _CELLS * (_CELLS + 1)).astype(np.int32)
    return np.asarray(np.cumsum(steps.reshape(_CELLS, -1), axis=1, dtype=np.int32)[:, :-1] != 0)
