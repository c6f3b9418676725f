"""Shader nodes of flaws: the changes under each flaw's mask, and the mask itself as an AOV.

Only the given flaws are compiled. Their lengths are in the object's own units, as the coordinates are; the
object's property "scale_m" converts heights to metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

from render.core.spec import DefectSpec
from render.worker.defects.flaw import Flaw
from render.worker.defects.outlines import OUTLINES, Outline
from render.worker.materials.material_families import foreign
from render.worker.materials.nodes import Nodes, SurfaceSockets, Value

__all__ = ["OUTLINES", "apply"]

#: How far above and below the plane of its middle a flaw reaches, in half lengths, and how much a surface may
#: turn away from it (cosine): so that it is not on the other side of a thin part too. Walls that a flaw has
#: itself raised look any way but back.
_REACH = 1.0
_FACING, _FACING_MOVED = (0.05, 0.2), (-0.5, -0.3)
#: Brightness of the inside of a hollow body, seen through a hole.
_INSIDE = 0.08


def apply(nodes: Nodes, surface: SurfaceSockets, defects: Sequence[DefectSpec]) -> SurfaceSockets:
    """The surface with the flaws on it; adds an AOV output "flaw <number>" for each.

    A flaw with numbers["displace"] adds to `surface.displacement`, the others bend its normals.
    """
    moved: list[Value] = []
    bent: list[Value] = []
    gone: list[Value] = []
    for spec in defects:
        mark = _mark(Flaw(nodes, spec))
        surface = _dressed(mark, surface)
        if mark.height is not None:
            (moved if mark.flaw.number("displace") else bent).append(mark.height)
        if mark.gone is not None:
            gone.append(mark.gone)
        nodes.add("ShaderNodeOutputAOV", {"Value": mark.label}, aov_name=f"flaw {spec.number}")
    scale = nodes.prop("scale_m") if bent or moved else 0.0
    if bent:
        height = nodes.maths("MULTIPLY", _combined(nodes, "ADD", bent), scale)
        surface = replace(surface, normal=nodes.bump(height, surface.normal))
        if surface.coat != 0.0:
            surface = replace(surface, coat_normal=nodes.bump(height, surface.coat_normal))
    if moved:
        height = nodes.maths("MULTIPLY", _combined(nodes, "ADD", moved), scale)
        below = surface.displacement
        raised = height if below is None else nodes.maths("ADD", below, height)
        surface = replace(surface, displacement=raised)
    if gone:
        # Transparent where material is gone; the inside that shows through is dark.
        left = nodes.maths("SUBTRACT", 1.0, _combined(nodes, "MAXIMUM", gone))
        behind = nodes.add("ShaderNodeNewGeometry").outputs["Backfacing"]
        dark = nodes.vector("MULTIPLY", surface.colour, (_INSIDE, _INSIDE, _INSIDE))
        colour = nodes.mix(behind, surface.colour, dark)
        surface = replace(surface, alpha=nodes.maths("MULTIPLY", surface.alpha, left), colour=colour)
    return surface


@dataclass(frozen=True, eq=False)
class _Mark:
    """Effect of a flaw at each point.

    mask: coverage.
    height: above the surface, own units.
    gone: coverage of its hole.
    """

    flaw: Flaw
    mask: Value
    label: Value
    height: Value | None
    gone: Value | None


def _mark(flaw: Flaw) -> _Mark:
    n, spec = flaw.nodes, flaw.spec
    outline = OUTLINES[spec.outline](flaw)
    on = _on_this_side(flaw)
    half = max(spec.softness, 0.02) / 2
    soft = flaw.smooth(outline.edge, -half, half)
    patches = _patches(flaw)
    height = _height(flaw, outline.edge, patches)
    mask, label = n.maths("MULTIPLY", soft, on), n.maths("MULTIPLY", outline.label, on)
    if patches is not None:
        mask = n.maths("MULTIPLY", mask, patches)
    gone = None
    if spec.hole:
        gone = _hole(flaw, outline)
        label = n.maths("MAXIMUM", label, gone)
    return _Mark(flaw, mask, label, None if height is None else n.maths("MULTIPLY", height, on), gone)


def _on_this_side(flaw: Flaw) -> Value:
    """1 on the surface the flaw was put on, 0 on others that lie under its mask."""
    n = flaw.nodes
    outward = tuple(flaw.turn.col[2])
    limits = _FACING_MOVED if flaw.number("displace") else _FACING
    facing = n.ramp(n.vector("DOT_PRODUCT", n.facing, outward), *limits)
    # The surface as moved has to lie within reach too.
    low = -_REACH - max(0.0, flaw.spec.depth_m) / flaw.half
    high = _REACH + max(0.0, -flaw.spec.depth_m, flaw.spec.rim_m) / flaw.half
    z = flaw.parts[2]
    near = n.maths("MINIMUM", flaw.above(z, low), n.maths("LESS_THAN", z, high))
    return n.maths("MULTIPLY", facing, near)


def _patches(flaw: Flaw) -> Value | None:
    """1 to 1 - grain, in patches; None where there are none."""
    grain = flaw.number("grain")
    if grain == 0:
        return None
    noise = flaw.noise(
        flaw.cells(flaw.number("grain_size"), stream=6), detail=flaw.number("grain_detail"), rough=0.6
    )
    patches = flaw.smooth(noise, 0.3, 0.65)
    return flaw.nodes.maths("MULTIPLY_ADD", patches, grain, 1 - grain)


def _height(flaw: Flaw, edge: Value, patches: Value | None) -> Value | None:
    n, spec = flaw.nodes, flaw.spec
    height: Value | None = None
    if spec.depth_m != 0:
        depth = flaw.smooth(edge, 0.0, flaw.number("bowl"))
        if patches is not None:
            depth = n.maths("MULTIPLY", depth, patches)
        height = n.maths("MULTIPLY", depth, -spec.depth_m)
    if spec.rim_m != 0:
        off = n.maths("DIVIDE", n.maths("ABSOLUTE", edge), flaw.number("rim_width"))
        ridge = n.maths("MULTIPLY", flaw.smooth(off, 1.0, 0.0), spec.rim_m)
        height = ridge if height is None else n.maths("ADD", height, ridge)
    return height


def _hole(flaw: Flaw, outline: Outline) -> Value:
    """1 where the material is gone: through both walls of a thin part, through one of a thick one."""
    n, z = flaw.nodes, flaw.parts[2]
    inner = flaw.above(outline.edge, 1 - flaw.number("hole_share"))
    above = flaw.above(z, -2 * flaw.number("through"))
    below = n.maths("LESS_THAN", z, _REACH)
    return n.maths("MULTIPLY", inner, n.maths("MULTIPLY", above, below))


def _dressed(mark: _Mark, surface: SurfaceSockets) -> SurfaceSockets:
    """Encrustation and roughness."""
    n, spec = mark.flaw.nodes, mark.flaw.spec
    if spec.material is not None and spec.cover > 0:
        crust = foreign(n, spec.material)
        cover = mark.mask if spec.cover >= 1 else n.maths("MULTIPLY", mark.mask, spec.cover)
        surface = n.blend(cover, surface, crust)
    if spec.roughness != 0:
        rough = n.maths("MULTIPLY_ADD", mark.mask, spec.roughness, surface.roughness, clamp=True)
        surface = replace(surface, roughness=rough)
    return surface


def _combined(nodes: Nodes, operation: str, values: Sequence[Value]) -> Value:
    return reduce(lambda a, b: nodes.maths(operation, a, b), values)
