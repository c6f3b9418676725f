"""Built-in parts: what there is, and their surfaces."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from render.core.errors import RecipeError
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
    """One component of a built-in shape, in units of its size; what `form` leaves out takes its default.

    The arrays are shared between callers and read-only.  Raises RecipeError for what the shape does not have.
    """
    if shape not in SHAPES:
        raise RecipeError(f"shape = {shape!r}: unknown; expected one of {', '.join(SHAPES)}")
    surfaces = _built(shape, tuple(complete(shape, form).items()))
    if component not in surfaces:
        names = ", ".join(name or "''" for name in surfaces)
        raise RecipeError(f"component = {component!r}: {shape} has no such piece; expected one of {names}")
    return surfaces[component]


def complete(shape: str, form: Mapping[str, float]) -> dict[str, float]:
    """The form with its defaults filled in, in the order of the shape's parameters; raises RecipeError."""
    parameters = SHAPES[shape].parameters
    for name, value in form.items():
        if name not in parameters:
            raise RecipeError(
                f"{name} = {value!r}: unknown parameter of {shape}; expected one of {', '.join(parameters)}"
            )
        low, high = parameters[name].low, parameters[name].high
        if not low <= value <= high:  # NaN is refused too
            raise RecipeError(f"{name} = {value:g}: out of range for {shape}; expected {low:g} to {high:g}")
    return {name: float(form.get(name, parameter.default)) for name, parameter in parameters.items()}


@lru_cache(maxsize=256)
def _built(shape: str, form: tuple[tuple[str, float], ...]) -> dict[str, Surface]:
    surfaces = SHAPES[shape].build(dict(form))
    for surface in surfaces.values():
        for array in (surface.vertices, surface.corners, surface.sizes, surface.accent, surface.uv):
            if array is not None:
                array.flags.writeable = False
    return surfaces
