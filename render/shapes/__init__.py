"""The built-in parts and their surfaces."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from render.shapes.billet import BILLET
from render.shapes.blade import BLADE, VANE
from render.shapes.bracket import BRACKET
from render.shapes.car import CAR
from render.shapes.die import DIE
from render.shapes.fasteners import BOLT, NUT, WASHER
from render.shapes.kernels.surface import Shape, Surface
from render.shapes.primitives import BOX, CONE, CYLINDER, SPHERE, TORUS
from render.shapes.slab import SHEET, SLAB

SHAPES: dict[str, Shape] = {
    "die": DIE,
    "blade": BLADE,
    "vane": VANE,
    "bolt": BOLT,
    "nut": NUT,
    "washer": WASHER,
    "bracket": BRACKET,
    "slab": SLAB,
    "sheet": SHEET,
    "billet": BILLET,
    "car": CAR,
    "box": BOX,
    "sphere": SPHERE,
    "cylinder": CYLINDER,
    "cone": CONE,
    "torus": TORUS,
}


def build_surface(shape: str, form: Mapping[str, float], component: str) -> Surface:
    """Return one component of a built-in shape, in units of its size; `form` overrides the defaults.

    The arrays are read-only, since callers share them. `render.recipe.checks` refuses unknown values.
    """
    parameters = SHAPES[shape].parameters
    complete = tuple((name, float(form.get(name, p.default))) for name, p in parameters.items())
    return _built(shape, complete)[component]


@lru_cache(maxsize=256)
def _built(shape: str, form: tuple[tuple[str, float], ...]) -> dict[str, Surface]:
    surfaces = SHAPES[shape].build(dict(form))
    for surface in surfaces.values():
        for array in (surface.vertices, surface.corners, surface.sizes, surface.accent, surface.uv):
            if array is not None:
                array.flags.writeable = False
    return surfaces
