"""Solids that several parts are made of: boxes with rounded edges, turned profiles, plates with holes."""

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
    """A box about the origin with rounded edges: `cells` quads along each axis' flat part, 2 arc per edge.

    A narrow strip more runs along the rim of every flat face, so that interpolated shading stays at the rim.
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
    """Grid lines along an axis; those of the edges at equal angles, up to where the next side takes over."""
    core = half - radius
    edge = core + radius * np.tan(np.linspace(0.0, np.pi / 4, arc + 1))
    flat = core - min(radius / 2, core / 4)
    return np.concatenate([-edge[::-1], np.linspace(-flat, flat, cells + 1), edge])


def turned(profile: FloatArray, cells: int, accent: FloatArray | None = None, *, ring: bool = False) -> Patch:
    """A profile (k, 2) of (radius, height), going up on the outside, turned about z in `cells` columns.

    ring: the profile is closed, as a washer's; otherwise it starts and ends on the axis.
    """
    return lofted(loops(profile, np.ones(cells)), accent, ring=ring)


def loops(profile: FloatArray, reach: FloatArray) -> FloatArray:
    """(k, cells, 3): circles of a profile (k, 2), or what `reach` (cells,) makes of a circle."""
    angle = np.arange(len(reach)) * (2 * np.pi / len(reach))
    flat = np.stack([np.cos(angle) * reach, np.sin(angle) * reach], axis=1)
    across = profile[:, :1, None] * flat[None]
    up = np.broadcast_to(profile[:, 1:, None], (*across.shape[:2], 1))
    return np.concatenate([across, up], axis=2)


def lofted(sections: FloatArray, accent: FloatArray | None = None, *, ring: bool = False) -> Patch:
    """Quads over closed sections (k, columns, 3), counter-clockwise seen from the last one's side."""
    if ring:
        sections = np.concatenate([sections, sections[:1]])
        accent = None if accent is None else np.concatenate([accent, accent[:1]])
    if accent is not None:
        accent = np.broadcast_to(accent[:, None], sections.shape[:2])
    return grid(sections, accent=accent, around=True)


def plate(
    outline: FloatArray,
    holes: Sequence[FloatArray],
    thickness: float,
    chamfer: float,
    inner: FloatArray | None = None,
    cells: int = 1,
) -> list[Patch]:
    """A flat plate, z from 0 to thickness: outline and holes counter-clockwise, all edges chamfered.

    inner: points (n, 2) where triangles of the flat faces should meet; cells: quads up its walls.
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


def strip_cap(loop: FloatArray) -> Patch:
    """Flat lid on a closed section (2 k, 3) whose points i and 2 k - 1 - i face each other."""
    half = len(loop) // 2
    first = np.arange(half - 1)
    last = len(loop) - 1 - first
    return Patch(loop, np.stack([first, first + 1, last - 1, last], axis=1))
