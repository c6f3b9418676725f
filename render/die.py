"""The die as arithmetic: faces, pips, orientation, surface. Unit: its edge; centre at the origin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Value of a face -> (outward normal, direction its pip pattern calls "right"). Opposite faces sum to 7.
FACES: dict[int, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    1: ((0, 0, 1), (1, 0, 0)),
    2: ((0, -1, 0), (1, 0, 0)),
    3: ((1, 0, 0), (0, 1, 0)),
    4: ((-1, 0, 0), (0, 1, 0)),
    5: ((0, 1, 0), (1, 0, 0)),
    6: ((0, 0, -1), (1, 0, 0)),
}
_CORNERS = ((-1, -1), (1, 1), (-1, 1), (1, -1))
#: Value -> places of its pips on the face, in units of PIP_SPACING.
PIPS: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((0, 0),),
    2: _CORNERS[:2],
    3: (*_CORNERS[:2], (0, 0)),
    4: _CORNERS,
    5: (*_CORNERS, (0, 0)),
    6: (*_CORNERS, (-1, 0), (1, 0)),
}
PIP_SPACING = 0.25


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed mesh. vertices: (n, 3); quads: (m, 4), outward; pip: (n,) 1 inside a pip, 0 on the body."""

    vertices: FloatArray
    quads: NDArray[np.int64]
    pip: FloatArray


def frame(value: int) -> FloatArray:
    """(3, 3), rows: right, up and normal of the face that shows `value`."""
    normal, right = (np.asarray(v, float) for v in FACES[value])
    return np.stack([right, np.cross(normal, right), normal])


def rotation(top: int, yaw_rad: float) -> FloatArray:
    """(3, 3) matrix that lays the die with `top` upwards, turned by yaw about the vertical."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return np.asarray(turn @ frame(top))


def upper_face(matrix: FloatArray) -> int:
    """Value of the face whose normal points most upwards under a rotation (3, 3)."""
    return max(FACES, key=lambda value: float((matrix @ np.asarray(FACES[value][0], float))[2]))


def surface(roundness: float, ball: float, pip_radius: float, pip_depth: float, cells: int) -> Surface:
    """A rounded cube, cut by a ball, with `cells` x `cells` quads per face and dents for pips."""
    steps = np.linspace(-0.5, 0.5, cells + 1)
    a, b = (g.ravel() for g in np.meshgrid(steps, steps, indexing="ij"))
    corner = np.arange(cells * (cells + 1)).reshape(cells, cells + 1)[:, :-1].ravel()
    quad = np.stack([corner, corner + cells + 1, corner + cells + 2, corner + 1], axis=1)
    sheets, quads, pips = [], [], []
    for number, value in enumerate(FACES):
        flat = np.stack([a, b, np.full_like(a, 0.5)], axis=1)
        depth, pip = _dents(a, b, value, pip_radius, pip_depth, 1.0 / cells)
        points = _rounded(flat, roundness, ball)
        points[:, 2] -= depth
        sheets.append(points @ frame(value))
        quads.append(quad + number * len(a))
        pips.append(pip)
    vertices, first, merged = np.unique(
        np.round(np.concatenate(sheets), 7), axis=0, return_index=True, return_inverse=True
    )
    return Surface(vertices, merged.reshape(-1)[np.concatenate(quads)], np.concatenate(pips)[first])


def _rounded(points: FloatArray, roundness: float, ball: float) -> FloatArray:
    core = np.clip(points, roundness - 0.5, 0.5 - roundness)
    out = points - core
    out *= roundness / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
    rounded = core + out
    length = np.linalg.norm(rounded, axis=1, keepdims=True)
    return np.asarray(rounded * np.minimum(1.0, 0.5 * ball / length))


def _dents(
    a: FloatArray, b: FloatArray, value: int, radius: float, depth: float, cell: float
) -> tuple[FloatArray, FloatArray]:
    """Depth below the face and share of pip colour, both (n,), at face coordinates (a, b)."""
    nearest = np.full_like(a, np.inf)
    for u, v in PIPS[value]:
        nearest = np.minimum(nearest, np.hypot(a - u * PIP_SPACING, b - v * PIP_SPACING))
    if radius <= 0:
        return np.zeros_like(a), np.zeros_like(a)
    # A paraboloid is a spherical cap to within 1 % at these depths. Colour fades over one cell: no stairs.
    return depth * np.clip(1 - (nearest / radius) ** 2, 0, None), np.clip(
        (radius - nearest) / cell + 0.5, 0, 1
    )
