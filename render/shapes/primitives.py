"""Simple solids, used as distractors. Unit: extent along x; `y` and `z` are the other extents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from render.shapes.kernels.patches import join
from render.shapes.kernels.solids import revolve, rounded_box
from render.shapes.kernels.surface import UPRIGHT, FloatArray, Parameter, Rest, Shape, Surface

_LYING = Rest((1, 0, 0, 0, 0, -1, 0, 1, 0))


def _box(form: Mapping[str, float]) -> dict[str, Surface]:
    size = (1.0, form["y"], form["z"])
    radius = form["edge"] * min(size)
    return {"": join(rounded_box(size, radius), weld=1e-4 * radius)}


def _sphere(form: Mapping[str, float]) -> dict[str, Surface]:
    angle = np.linspace(-np.pi / 2, np.pi / 2, round(form["cells"]) // 2 + 1)
    profile = 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    profile[[0, -1], 0] = 0.0
    return _turned(profile, form)


def _cylinder(form: Mapping[str, float]) -> dict[str, Surface]:
    c = form["edge"]
    profile = [(0.0, -0.5), (0.5 - c, -0.5), (0.5, c - 0.5), (0.5, 0.5 - c), (0.5 - c, 0.5), (0.0, 0.5)]
    return _turned(np.array(profile), form)


def _cone(form: Mapping[str, float]) -> dict[str, Surface]:
    """Build a cone; its rows are closer towards the tip, which keeps shading exact there."""
    up = 1 - np.linspace(1.0, 0.0, 12) ** 2
    side = np.stack([0.5 * (1 - up), up - 0.5], axis=1)
    return _turned(np.concatenate([[(0.0, -0.5)], side]), form)


def _torus(form: Mapping[str, float]) -> dict[str, Surface]:
    count = max(8, round(form["cells"]) // 2)
    angle = np.arange(count) * (2 * np.pi / count)
    tube = form["tube"]
    profile = np.stack([0.5 - tube + tube * np.cos(angle), 0.5 * np.sin(angle)], axis=1)
    return _turned(profile, form, ring=True)


def _turned(profile: FloatArray, form: Mapping[str, float], *, ring: bool = False) -> dict[str, Surface]:
    """Revolve a profile of height and diameter 1 about z, then stretch the solid along y and z."""
    # A multiple of four, so that a column lies at each end of both axes.
    solid = join([revolve(profile, 4 * max(2, round(form["cells"] / 4)), ring=ring)])
    return {"": replace(solid, vertices=solid.vertices * (1.0, form["y"], form["z"]))}


def _primitive(
    build: Callable[[Mapping[str, float]], dict[str, Surface]],
    rests: tuple[Rest, ...] = (UPRIGHT,),
    **extra: Parameter,
) -> Shape:
    parameters = {
        "y": Parameter(1.0, 0.0005, 2000.0, "extent along y over that along x"),
        "z": Parameter(1.0, 0.0005, 2000.0, "extent along z over that along x"),
        **extra,
    }
    return Shape(build, size="extent along x", parameters=parameters, rests=rests)


_CELLS = Parameter(64, 8, 256, "quads around")

BOX = _primitive(_box, edge=Parameter(0.06, 0.005, 0.45, "radius of the edges, in shortest sides"))
SPHERE = _primitive(_sphere, cells=_CELLS)
CYLINDER = _primitive(
    _cylinder, (UPRIGHT, _LYING), edge=Parameter(0.02, 0.0, 0.2, "chamfer, in diameters"), cells=_CELLS
)
CONE = _primitive(_cone, cells=_CELLS)
TORUS = _primitive(_torus, tube=Parameter(0.15, 0.02, 0.24, "radius of the ring's tube"), cells=_CELLS)
