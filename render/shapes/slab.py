"""Steel slab and thin sheet, whose faces have many quads to carry flaws. Unit: length, along x."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from render.shapes.kernels.patches import centre_surfaces, join
from render.shapes.kernels.solids import rounded_box
from render.shapes.kernels.surface import UPRIGHT, Parameter, Rest, Shape, Surface

_OVER = Rest((1, 0, 0, 0, -1, 0, 0, 0, -1))


def _slab(form: Mapping[str, float]) -> dict[str, Surface]:
    return {"": join(rounded_box(*_box(form), arc=5))}


def _sheet(form: Mapping[str, float]) -> dict[str, Surface]:
    """Build a thin slab that is not quite flat: with waves, and a curl along its length."""
    patches = []
    for patch in rounded_box(*_box(form), arc=2):
        points = patch.points.copy()
        x, y = points[:, 0], points[:, 1]
        wave = np.sin(2 * np.pi * form["waves"] * x + 0.9) * (0.6 + 0.4 * np.cos(3.1 * y))
        points[:, 2] += form["wave"] * wave + form["curl"] * 4 * x**2
        patches.append(replace(patch, points=points))
    return centre_surfaces({"": join(patches)})


def _box(form: Mapping[str, float]) -> tuple[tuple[float, float, float], float, tuple[int, int, int]]:
    size = (1.0, form["width"], form["thickness"])
    radius = form["edge"] * form["thickness"]
    cells = round(form["cells"])
    across = max(1, round(cells * (size[1] - 2 * radius)))
    return size, radius, (cells, across, max(1, round(cells * (size[2] - 2 * radius))))


_WIDTH = Parameter(0.7, 0.05, 1.0, "width, in lengths")
_CELLS = Parameter(140, 4, 400, "quads along its length")

SLAB = Shape(
    _slab,
    size="length",
    parameters={
        "width": _WIDTH,
        "thickness": Parameter(0.14, 0.02, 0.6, "thickness, in lengths"),
        "edge": Parameter(0.12, 0.01, 0.45, "radius of the edges, in thicknesses"),
        "cells": _CELLS,
    },
    rests=(UPRIGHT, _OVER),
)
SHEET = Shape(
    _sheet,
    size="length",
    parameters={
        "width": _WIDTH,
        "thickness": Parameter(0.004, 0.0005, 0.03, "thickness, in lengths"),
        "edge": Parameter(0.2, 0.01, 0.45, "radius of the edges, in thicknesses"),
        "wave": Parameter(0.0, 0.0, 0.02, "height of its waves, in lengths"),
        "waves": Parameter(2.0, 0.5, 8.0, "how many waves along its length"),
        "curl": Parameter(0.0, -0.1, 0.1, "how far its ends stand up, in lengths"),
        "cells": _CELLS,
    },
    rests=(UPRIGHT, _OVER),
)
