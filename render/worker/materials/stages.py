"""Materials of the ground: patterns of two colours. `grain` is their contrast, `grain_m` their size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from render.worker.materials import layers
from render.worker.materials.inputs import MaterialInputs
from render.worker.materials.nodes import SurfaceSockets, Value


def _plain(inputs: MaterialInputs) -> SurfaceSockets:
    """Build faint clouds."""
    return _surface(inputs, inputs.nodes.noise(inputs.grains(), detail=1))


def _speckle(inputs: MaterialInputs) -> SurfaceSockets:
    """Build specks, as in stone or moulded worktops."""
    n = inputs.nodes
    return _surface(inputs, n.ramp(n.noise(inputs.grains(), detail=4), 0.55, 0.65))


def _wood(inputs: MaterialInputs) -> SurfaceSockets:
    """Build wood: growth rings cut lengthwise, and fibres along them."""
    n = inputs.nodes
    rings = n.noise(inputs.grains(1.0, (12.0, 1.0, 1.0)), detail=3)
    late = n.maths("POWER", n.maths("FRACT", n.maths("MULTIPLY", rings, 9.0)), 2.0)
    fibres = n.noise(inputs.grains(0.08, (40.0, 1.0, 1.0)), detail=2)
    pattern = n.maths("MULTIPLY_ADD", fibres, 0.5, n.maths("MULTIPLY", late, 0.75), clamp=True)
    surface = _surface(inputs, pattern)
    rough = n.maths(
        "MULTIPLY_ADD", fibres, 0.2, n.maths("SUBTRACT", inputs.number("roughness"), 0.1), clamp=True
    )
    return replace(surface, roughness=rough)


def _brushed(inputs: MaterialInputs) -> SurfaceSockets:
    """Build sheet metal or laminate, brushed along x."""
    n = inputs.nodes
    place, tangent = layers.brushed(inputs, 0.1)
    lines = n.noise(place, detail=3, rough=0.65)
    surface = _surface(inputs, lines)
    rough = n.maths("MULTIPLY", inputs.number("roughness"), n.ramp(lines, 0.3, 0.7, 0.7, 1.3), clamp=True)
    if not inputs.on("metallic"):
        return replace(surface, roughness=rough)
    normal = n.bump(inputs.height(lines, 0.004))
    return replace(surface, roughness=rough, normal=normal, anisotropic=0.6, tangent=tangent)


def _concrete(inputs: MaterialInputs) -> SurfaceSockets:
    """Build concrete: clouds, sand and small holes."""
    n = inputs.nodes
    cloud = n.noise(inputs.grains(6), detail=4, rough=0.6)
    sand = n.noise(inputs.grains(0.25), detail=2, rough=0.8)
    holes = n.ramp(n.cells(inputs.grains(1.5)).outputs["Distance"], 0.06, 0.11, 1.0, 0.0)
    pattern = n.maths("MULTIPLY_ADD", n.ramp(cloud, 0.3, 0.7), 0.8, n.maths("MULTIPLY", sand, 0.5))
    pattern = n.maths("MULTIPLY_ADD", holes, 0.6, pattern, clamp=True)
    return replace(_surface(inputs, pattern), normal=n.bump(inputs.height(sand, 0.06)))


def _surface(inputs: MaterialInputs, pattern: Value) -> SurfaceSockets:
    n = inputs.nodes
    strength = n.maths("MULTIPLY", pattern, inputs.number("grain"))
    colour = n.mix(strength, inputs.colour("body"), inputs.colour("second"))
    return SurfaceSockets(colour, inputs.number("roughness"), inputs.option("metallic"), specular=0.3)


#: Builders by the name of the pattern in the recipe.
PATTERNS: dict[str, Callable[[MaterialInputs], SurfaceSockets]] = {
    "plain": _plain,
    "speckle": _speckle,
    "wood": _wood,
    "brushed": _brushed,
    "concrete": _concrete,
}
