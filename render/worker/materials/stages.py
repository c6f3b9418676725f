"""What parts lie on: patterns of two colours, as strong as `grain`, their features `grain_m` wide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from render.worker.materials import layers
from render.worker.materials.look import Look
from render.worker.materials.nodes import SurfaceSockets, Value


def _plain(look: Look) -> SurfaceSockets:
    """Faint clouds."""
    return _surface(look, look.nodes.noise(look.grains(), detail=1))


def _speckle(look: Look) -> SurfaceSockets:
    """Specks, as in stone or moulded worktops."""
    n = look.nodes
    return _surface(look, n.ramp(n.noise(look.grains(), detail=4), 0.55, 0.65))


def _wood(look: Look) -> SurfaceSockets:
    """Year rings cut lengthwise, and fibres along them."""
    n = look.nodes
    rings = n.noise(look.grains(1.0, (12.0, 1.0, 1.0)), detail=3)
    late = n.maths("POWER", n.maths("FRACT", n.maths("MULTIPLY", rings, 9.0)), 2.0)
    fibres = n.noise(look.grains(0.08, (40.0, 1.0, 1.0)), detail=2)
    pattern = n.maths("MULTIPLY_ADD", fibres, 0.5, n.maths("MULTIPLY", late, 0.75), clamp=True)
    surface = _surface(look, pattern)
    rough = n.maths(
        "MULTIPLY_ADD", fibres, 0.2, n.maths("SUBTRACT", look.number("roughness"), 0.1), clamp=True
    )
    return replace(surface, roughness=rough)


def _brushed(look: Look) -> SurfaceSockets:
    """Sheet metal or laminate brushed along x."""
    n = look.nodes
    frame = layers.brushed_frame(look, 0.1)
    lines = n.noise(frame.place, detail=3, rough=0.65)
    surface = _surface(look, lines)
    rough = n.maths("MULTIPLY", look.number("roughness"), n.ramp(lines, 0.3, 0.7, 0.7, 1.3), clamp=True)
    if not look.on("metallic"):
        return replace(surface, roughness=rough)
    normal = n.bump(look.height(lines, 0.004))
    return replace(surface, roughness=rough, normal=normal, anisotropic=0.6, tangent=frame.tangent)


def _concrete(look: Look) -> SurfaceSockets:
    """Clouds, sand and small holes."""
    n = look.nodes
    cloud = n.noise(look.grains(6), detail=4, rough=0.6)
    sand = n.noise(look.grains(0.25), detail=2, rough=0.8)
    holes = n.ramp(n.cells(look.grains(1.5)).outputs["Distance"], 0.06, 0.11, 1.0, 0.0)
    pattern = n.maths("MULTIPLY_ADD", n.ramp(cloud, 0.3, 0.7), 0.8, n.maths("MULTIPLY", sand, 0.5))
    pattern = n.maths("MULTIPLY_ADD", holes, 0.6, pattern, clamp=True)
    return replace(_surface(look, pattern), normal=n.bump(look.height(sand, 0.06)))


def _surface(look: Look, pattern: Value) -> SurfaceSockets:
    n = look.nodes
    strength = n.maths("MULTIPLY", pattern, look.number("grain"))
    metallic = look.number("metallic") if look.on("metallic") else 0.0
    colour = n.mix(strength, look.colour("body"), look.colour("second"))
    return SurfaceSockets(colour, look.number("roughness"), metallic, specular=0.3)


#: Patterns of the stage's recipe, by name.
PATTERNS: dict[str, Callable[[Look], SurfaceSockets]] = {
    "plain": _plain,
    "speckle": _speckle,
    "wood": _wood,
    "brushed": _brushed,
    "concrete": _concrete,
}
