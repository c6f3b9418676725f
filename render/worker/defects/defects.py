"""Shader nodes of flaws: how each flaw changes the surface, and its mask, which is written to an AOV.

Lengths and coordinates are in the object's own units. The object's property "scale_m" converts heights to
metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

from render.core.spec import DefectSpec
from render.worker.defects.flaw import Flaw
from render.worker.defects.outlines import OUTLINES, Outline
from render.worker.materials.material_families import build_embedded
from render.worker.materials.nodes import Nodes, SurfaceSockets, Value

__all__ = ["OUTLINES", "apply"]

#: A flaw affects the surface within this distance of the plane through its centre, in half lengths ...
_REACH = 1.0
#: ... and where the cosine between both normals rises through this range, so that the back of a thin part
#: stays free. The walls of a displaced flaw may face any way but backwards.
_FACING, _FACING_DISPLACED = (0.05, 0.2), (-0.5, -0.3)
#: Brightness of the inside of a hollow body, seen through a hole.
_INSIDE = 0.08


def apply(nodes: Nodes, surface: SurfaceSockets, defects: Sequence[DefectSpec]) -> SurfaceSockets:
    """Return the surface with the flaws on it; add an AOV output "flaw <number>" for each flaw.

    A flaw with numbers["displace"] adds to `surface.displacement`. The others change the normals only.
    """
    displacements: list[Value] = []
    bumps: list[Value] = []
    removed: list[Value] = []
    for spec in defects:
        effect = _build_effect(Flaw(nodes, spec))
        surface = _apply_material(effect, surface)
        if effect.height is not None:
            (displacements if effect.flaw.number("displace") else bumps).append(effect.height)
        if effect.removed is not None:
            removed.append(effect.removed)
        nodes.add("ShaderNodeOutputAOV", {"Value": effect.label}, aov_name=f"flaw {spec.number}")
    scale = nodes.prop("scale_m") if bumps or displacements else 0.0
    if bumps:
        height = nodes.maths("MULTIPLY", _combine(nodes, "ADD", bumps), scale)
        surface = replace(surface, normal=nodes.bump(height, surface.normal))
        if surface.coat != 0.0:
            surface = replace(surface, coat_normal=nodes.bump(height, surface.coat_normal))
    if displacements:
        height = nodes.maths("MULTIPLY", _combine(nodes, "ADD", displacements), scale)
        below = surface.displacement
        raised = height if below is None else nodes.maths("ADD", below, height)
        surface = replace(surface, displacement=raised)
    if removed:
        # Where material is removed, the surface is transparent. The inside seen through it is dark.
        remaining = nodes.maths("SUBTRACT", 1.0, _combine(nodes, "MAXIMUM", removed))
        behind = nodes.add("ShaderNodeNewGeometry").outputs["Backfacing"]
        dark = nodes.vector("MULTIPLY", surface.colour, (_INSIDE, _INSIDE, _INSIDE))
        colour = nodes.mix(behind, surface.colour, dark)
        surface = replace(surface, alpha=nodes.maths("MULTIPLY", surface.alpha, remaining), colour=colour)
    return surface


@dataclass(frozen=True, eq=False)
class _FlawEffect:
    """Effect of a flaw at each point.

    mask: coverage by the flaw.
    label: 1 where the flaw is labelled.
    height: relief above the surface, in own units; None if there is none.
    removed: 1 where the material is removed; None if the flaw has no hole.
    """

    flaw: Flaw
    mask: Value
    label: Value
    height: Value | None
    removed: Value | None


def _build_effect(flaw: Flaw) -> _FlawEffect:
    n, spec = flaw.nodes, flaw.spec
    outline = OUTLINES[spec.outline](flaw)
    same_side = _same_side_mask(flaw)
    half = max(spec.softness, 0.02) / 2
    soft = flaw.smooth(outline.edge, -half, half)
    patches = _patches(flaw)
    height = _height(flaw, outline.edge, patches)
    mask, label = n.maths("MULTIPLY", soft, same_side), n.maths("MULTIPLY", outline.label, same_side)
    if patches is not None:
        mask = n.maths("MULTIPLY", mask, patches)
    removed = None
    if spec.hole:
        removed = _hole(flaw, outline)
        label = n.maths("MAXIMUM", label, removed)
    return _FlawEffect(
        flaw, mask, label, None if height is None else n.maths("MULTIPLY", height, same_side), removed
    )


def _same_side_mask(flaw: Flaw) -> Value:
    """Return 1 on the surface that carries the flaw, 0 on other surfaces under its mask."""
    n = flaw.nodes
    outward = tuple(flaw.turn.col[2])
    limits = _FACING_DISPLACED if flaw.number("displace") else _FACING
    facing = n.ramp(n.vector("DOT_PRODUCT", n.facing, outward), *limits)
    # The displaced surface must be within reach too.
    low = -_REACH - max(0.0, flaw.spec.depth_m) / flaw.half
    high = _REACH + max(0.0, -flaw.spec.depth_m, flaw.spec.rim_m) / flaw.half
    z = flaw.parts[2]
    near = n.maths("MINIMUM", flaw.above(z, low), n.maths("LESS_THAN", z, high))
    return n.maths("MULTIPLY", facing, near)


def _patches(flaw: Flaw) -> Value | None:
    """Return a patchy factor between 1 - grain and 1; None if the flaw has no grain."""
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
    """Return 1 where the material is removed: both walls of a thin part, one wall of a thick part."""
    n, z = flaw.nodes, flaw.parts[2]
    inner = flaw.above(outline.edge, 1 - flaw.number("hole_share"))
    above = flaw.above(z, -2 * flaw.number("through"))
    below = n.maths("LESS_THAN", z, _REACH)
    return n.maths("MULTIPLY", inner, n.maths("MULTIPLY", above, below))


def _apply_material(effect: _FlawEffect, surface: SurfaceSockets) -> SurfaceSockets:
    """Return the surface with the flaw's own material and roughness."""
    n, spec = effect.flaw.nodes, effect.flaw.spec
    if spec.material is not None and spec.cover > 0:
        crust = build_embedded(n, spec.material)
        cover = effect.mask if spec.cover >= 1 else n.maths("MULTIPLY", effect.mask, spec.cover)
        surface = n.blend(cover, surface, crust)
    if spec.roughness != 0:
        rough = n.maths("MULTIPLY_ADD", effect.mask, spec.roughness, surface.roughness, clamp=True)
        surface = replace(surface, roughness=rough)
    return surface


def _combine(nodes: Nodes, operation: str, values: Sequence[Value]) -> Value:
    return reduce(lambda a, b: nodes.maths(operation, a, b), values)
