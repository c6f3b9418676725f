"""A die: faces, pips, orientation, surface. Unit: its edge; centre at the origin."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from render.shapes.kernels.patches import grid, join
from render.shapes.kernels.surface import FloatArray, Parameter, Rest, Shape, Surface

#: Value of a face -> (outward normal, right direction of its pip pattern). Opposite faces sum to 7.
FACES: dict[int, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    1: ((0, 0, 1), (1, 0, 0)),
    2: ((0, -1, 0), (1, 0, 0)),
    3: ((1, 0, 0), (0, 1, 0)),
    4: ((-1, 0, 0), (0, 1, 0)),
    5: ((0, 1, 0), (1, 0, 0)),
    6: ((0, 0, -1), (1, 0, 0)),
}
#: Value - 1 -> name of the state of a die with that value on top.
NAMES = ("one", "two", "three", "four", "five", "six")
_CORNERS = ((-1, -1), (1, 1), (-1, 1), (1, -1))
#: Value -> positions of its pips on the face, in units of PIP_SPACING.
PIPS: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((0, 0),),
    2: _CORNERS[:2],
    3: (*_CORNERS[:2], (0, 0)),
    4: _CORNERS,
    5: (*_CORNERS, (0, 0)),
    6: (*_CORNERS, (-1, 0), (1, 0)),
}
PIP_SPACING = 0.25


def frame(value: int) -> FloatArray:
    """Return (3, 3), rows right, up and normal of the face that shows `value`."""
    normal, right = (np.asarray(v, float) for v in FACES[value])
    return np.stack([right, np.cross(normal, right), normal])


def _build(form: Mapping[str, float]) -> dict[str, Surface]:
    """Build a rounded cube, cut by a ball, with `cells` x `cells` quads per face and dents for pips."""
    cells = round(form["cells"])
    steps = np.linspace(-0.5, 0.5, cells + 1)
    b, a = np.meshgrid(steps, steps, indexing="ij")
    flat = np.stack([a, b, np.full_like(a, 0.5)], axis=-1)
    smooth = _rounded(flat, form["roundness"], form["ball"])
    patches = []
    for value in FACES:
        depth, pip = _dents(a, b, value, form["pip_radius"], form["pip_depth"], 1.0 / cells)
        points = smooth - depth[..., None] * (0.0, 0.0, 1.0)
        patches.append(grid(points @ frame(value), np.stack([a, b], axis=-1), pip))
    return {"": join(patches)}


def _rounded(points: FloatArray, roundness: float, ball: float) -> FloatArray:
    core = np.clip(points, roundness - 0.5, 0.5 - roundness)
    out = points - core
    out *= roundness / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-12)
    rounded = core + out
    length = np.linalg.norm(rounded, axis=-1, keepdims=True)
    return np.asarray(rounded * np.minimum(1.0, 0.5 * ball / length))


def _dents(
    a: FloatArray, b: FloatArray, value: int, radius: float, depth: float, cell: float
) -> tuple[FloatArray, FloatArray]:
    """Return the depth below the face and the share of pip colour at face coordinates (a, b)."""
    nearest = np.full_like(a, np.inf)
    for u, v in PIPS[value]:
        nearest = np.minimum(nearest, np.hypot(a - u * PIP_SPACING, b - v * PIP_SPACING))
    if radius <= 0:
        return np.zeros_like(a), np.zeros_like(a)
    # At these depths a paraboloid equals a spherical cap to within 1 %. Colour fades over one cell, which
    # avoids aliasing.
    below = depth * np.clip(1 - (nearest / radius) ** 2, 0, None)
    return below, np.clip((radius - nearest) / cell + 0.5, 0, 1)


DIE = Shape(
    _build,
    size="edge",
    parameters={
        "roundness": Parameter(0.10, 0.005, 0.45, "radius of the edges, in edges"),
        "ball": Parameter(1.50, 1.05, 1.80, "diameter of the ball that cuts the corners, in edges"),
        "pip_radius": Parameter(0.095, 0.0, 0.12, "radius of a pip, in edges; 0: no pips"),
        "pip_depth": Parameter(0.05, 0.0, 0.09, "depth of a pip, in edges"),
        "cells": Parameter(56, 4, 160, "quads along an edge"),
    },
    rests=tuple(
        Rest(tuple(float(v) for v in frame(value).ravel()), NAMES[value - 1])  # type: ignore[arg-type]
        for value in FACES
    ),
    states=NAMES,
)
