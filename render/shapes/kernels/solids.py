"""Solids that several parts use: boxes with rounded edges, solids of revolution, plates with holes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from render.shapes.kernels.patches import Patch, grid
from render.shapes.kernels.planar import fill, inset
from render.shapes.kernels.surface import FloatArray

#: Axes (right, up, outward) of the six sides of a box.
_SIDES = (
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((0, 1, 0), (1, 0, 0), (0, 0, -1)),
    ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
    ((0, 0, 1), (0, 1, 0), (-1, 0, 0)),
    ((0, 0, 1), (1, 0, 0), (0, 1, 0)),
    ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
)


def rounded_box(
    size: Sequence[float], radius: float, cells: Sequence[int] = (1, 1, 1), arc: int = 3
) -> list[Patch]:
    """Return a box about the origin with rounded edges.

    cells: quads along the flat part of each axis.
    arc: half the number of quads across a rounded edge.

    Every flat face has one more narrow strip along its rim, which keeps interpolated shading at the rim.
    """
    half = np.asarray(size, float) / 2
    radius = min(radius, float(half.min()) * 0.999)
    lines = [_lines(half[k], radius, cells[k], arc) for k in range(3)]
    patches = []
    for side in _SIDES:
        right, up, out = (np.asarray(v, float) for v in side)
        u, v = lines[int(np.abs(right).argmax())], lines[int(np.abs(up).argmax())]
        flat = u[None, :, None] * right + v[:, None, None] * up + out * float(half[int(np.abs(out).argmax())])
        core = np.clip(flat, radius - half, half - radius)
        away = flat - core
        away *= radius / np.maximum(np.linalg.norm(away, axis=2, keepdims=True), 1e-12)
        uv = np.stack(np.broadcast_arrays(u[None, :], v[:, None]), axis=-1)
        patches.append(grid(core + away, uv))
    return patches


def _lines(half: float, radius: float, cells: int, arc: int) -> FloatArray:
    """Return the grid lines along an axis; those of a rounded edge are at equal angles, up to 45°."""
    core = half - radius
    edge = core + radius * np.tan(np.linspace(0.0, np.pi / 4, arc + 1))
    flat = core - min(radius / 2, core / 4)
    return np.concatenate([-edge[::-1], np.linspace(-flat, flat, cells + 1), edge])


def revolve(profile: FloatArray, cells: int, *, ring: bool = False) -> Patch:
    """Revolve a profile (k, 2) of (radius, height), going up on the outside, about z in `cells` columns.

    ring: the profile is closed, as for a washer; otherwise it starts and ends on the axis.
    """
    return loft(rings(profile[:, :1], profile[:, 1:], cells), ring=ring)


def rings(radius: FloatArray, height: FloatArray, columns: int) -> FloatArray:
    """Return closed sections (k, columns, 3) about z; radius and height: (k, columns) or (k, 1)."""
    angle = np.arange(columns) * (2 * np.pi / columns)
    flat = radius * np.cos(angle), radius * np.sin(angle)
    return np.stack(np.broadcast_arrays(*flat, height), axis=2)


def loft(sections: FloatArray, accent: FloatArray | None = None, *, ring: bool = False) -> Patch:
    """Return quads over closed sections (k, columns, 3), counter-clockwise seen from the last section.

    accent: (k, columns).
    ring: whether the last section is joined to the first.
    """
    if ring:
        sections = np.concatenate([sections, sections[:1]])
    return grid(sections, accent=accent, around=True)


def plate(
    outline: FloatArray,
    holes: Sequence[FloatArray],
    thickness: float,
    chamfer: float,
    inner: FloatArray | None = None,
    cells: int = 1,
) -> list[Patch]:
    """Return a flat plate from z = 0 to `thickness` with all edges chamfered.

    outline, holes: counter-clockwise.
    inner: points (n, 2) at which triangles of the flat faces should meet.
    cells: quads along the height of the walls.
    """
    rims = [inset(outline, chamfer), *(inset(hole, -chamfer) for hole in holes)]
    points, triangles = fill(rims[0], rims[1:], inner)
    top = Patch(np.c_[points, np.full(len(points), thickness)], triangles)
    bottom = Patch(np.c_[points, np.zeros(len(points))], triangles[:, ::-1])
    patches = [top, bottom]
    levels = np.concatenate([[0.0], np.linspace(chamfer, thickness - chamfer, cells + 1), [thickness]])
    for k, (rim, wall) in enumerate(zip(rims, [outline, *holes], strict=True)):
        rings = [np.c_[wall, np.full(len(wall), z)] for z in levels]
        rings[0][:, :2] = rings[-1][:, :2] = rim
        side = grid(np.stack(rings), around=True)
        patches.append(side.flipped() if k else side)
    return patches
