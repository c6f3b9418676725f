"""The kinds of material a part may be made of.

A builder makes the bare surface; what lies over it (accent, wear, rust) comes from `render.worker.materials.layers`.
What `numbers` mean everywhere: roughness; grain_m, the size of the finest features; bump, how strongly they are
raised; wear and rust, how much of them shows; seed, where in its noise a thing is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from render.core.spec import MaterialSpec, Vector
from render.worker.materials import image_textures, layers, stages
from render.worker.materials.look import Look
from render.worker.materials.nodes import Nodes, SurfaceSockets

Builder = Callable[[Look], SurfaceSockets]
Layer = Callable[[Look, SurfaceSockets], SurfaceSockets]


@dataclass(frozen=True)
class Family:
    """One kind of material. body, numbers: where the spec says nothing.

    options: numbers that switch a piece of the tree on when above 0.  wear: the layer that shows use.
    varied: further numbers that follow from the seed.
    """

    build: Builder
    body: Vector
    numbers: Mapping[str, float] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    wear: Layer | None = None
    varied: Callable[[float], Mapping[str, float]] | None = None


def completed(spec: MaterialSpec) -> MaterialSpec:
    """The spec with every number and colour its family reads; raises ValueError for an unknown kind."""
    if spec.kind not in FAMILIES:
        raise ValueError(f"expected a material of kind {', '.join(FAMILIES)}, got {spec.kind!r}")
    family = FAMILIES[spec.kind]
    body = spec.colours.get("body", family.body)
    colours = {"body": body, "second": tuple(0.4 * c for c in body), **spec.colours}
    usual = {"roughness": 0.5, "metallic": 0.0, "grain_m": 0.002, "tile_m": spec.tile_m, **family.numbers}
    varied = family.varied(spec.seed) if family.varied else {}
    return msgspec.structs.replace(spec, colours=colours, numbers={**usual, **varied, **spec.numbers})


def options(spec: MaterialSpec) -> tuple[str, ...]:
    """What of its family's tree a completed spec switches on; equal options share a material."""
    family = FAMILIES[spec.kind]
    wanted = [name for name in family.options if spec.numbers.get(name, 0.0) > 0]
    return tuple(wanted + ["accent"] * ("accent" in spec.colours))


def build(look: Look) -> SurfaceSockets:
    """The surface of a completed spec, all layers included."""
    family = FAMILIES[look.spec.kind]
    wanted = options(look.spec)
    surface = family.build(look)
    if "accent" in wanted:
        surface = layers.accent(look, surface)
    if "wear" in wanted and family.wear is not None:
        surface = family.wear(look, surface)
    return layers.rust(look, surface) if "rust" in wanted else surface


def foreign(nodes: Nodes, spec: MaterialSpec, *, uv: bool = False) -> SurfaceSockets:
    """The surface of a material in a tree that belongs to another: its values are constants there."""
    return build(Look(nodes, completed(spec), shared=False, uv=uv))


# ---- builders --------------------------------------------------------------------------------------------


def _plastic(look: Look) -> SurfaceSockets:
    n, colour, normal = look.nodes, look.colour("body"), None
    if look.on("marble"):
        swirl = n.ramp(n.noise(look.grains(), detail=2, distortion=1.5), 0.42, 0.58)
        colour = n.mix(n.maths("MULTIPLY", swirl, look.number("marble")), colour, look.colour("second"))
    if look.on("bump"):
        normal = n.bump(look.height(n.noise(look.grains(0.5), detail=2), 0.15, "bump"))
    clear = look.number("translucency") if look.on("translucency") else 0.0
    return SurfaceSockets(colour, look.number("roughness"), normal=normal, transmission=clear)


def _metal(look: Look) -> SurfaceSockets:
    n, normal = look.nodes, None
    cloud = n.noise(look.grains(6), detail=3)
    rough = n.maths("MULTIPLY", look.number("roughness"), n.ramp(cloud, 0.3, 0.7, 0.8, 1.2), clamp=True)
    if look.on("bump"):
        normal = n.bump(look.height(n.noise(look.grains(3), detail=1), 0.4, "bump"))
    return SurfaceSockets(look.colour("body"), rough, 1.0, normal)


def _paint(look: Look) -> SurfaceSockets:
    """Car paint: a base coat, with flakes or a flip colour where wanted, under a clear coat."""
    n, colour, peel = look.nodes, look.colour("body"), None
    base = SurfaceSockets(colour, 0.5, coat=1.0, coat_roughness=look.number("roughness"))
    if look.on("marble"):
        grazing = n.add("ShaderNodeLayerWeight", {"Blend": 0.35}).outputs["Facing"]
        flip = n.maths("MULTIPLY", grazing, look.number("marble"))
        base = replace(base, colour=n.mix(flip, colour, look.colour("second")))
    if look.on("metallic"):
        flake = n.cells(look.grains(0.15)).outputs["Color"]
        tilt = n.vector("SUBTRACT", flake, (0.5, 0.5, 0.5))
        normal = n.vector("NORMALIZE", n.vector("MULTIPLY_ADD", tilt, 0.35, n.upright()))
        base = replace(base, metallic=look.number("metallic"), roughness=0.35, normal=normal)
    if look.on("bump"):
        peel = n.bump(look.height(n.noise(look.grains(1.5), detail=1), 0.06, "bump"))
    return replace(base, coat_normal=peel)


def _rubber(look: Look) -> SurfaceSockets:
    n = look.nodes
    skin = n.noise(look.grains(0.5), detail=3)
    colour = n.mix(n.ramp(skin, 0.3, 0.7, 0.0, 0.4), look.colour("body"), (0.06, 0.06, 0.06))
    normal = n.bump(look.height(skin, 0.12))
    if look.on("bump"):
        normal = n.bump(look.height(n.noise(look.grains(2)), 0.4, "bump"), normal)
    return SurfaceSockets(colour, look.number("roughness"), normal=normal, specular=0.35)


def _cast(look: Look) -> SurfaceSockets:
    """Sand-cast iron, or steel under mill scale: granular skin over a faint unevenness."""
    n = look.nodes
    sand = n.noise(look.grains(), detail=2, rough=0.8)
    cloud = n.noise(look.grains(25, (3.0, 1.0, 1.0)), detail=4)
    shade = n.maths("MULTIPLY_ADD", cloud, 0.9, n.ramp(sand, 0.3, 0.7, 0.25, 0.85))
    colour = n.vector("MULTIPLY", look.colour("body"), shade)
    rough = n.maths("MULTIPLY", look.number("roughness"), n.ramp(cloud, 0.3, 0.7, 0.8, 1.2), clamp=True)
    normal = n.bump(look.height(sand, 0.25))
    if look.on("bump"):
        normal = n.bump(look.height(n.noise(look.grains(3)), 1.2, "bump"), normal)
    return SurfaceSockets(colour, rough, metallic=0.65, normal=normal)


def _ground(look: Look) -> SurfaceSockets:
    """Machined metal: fine lines, across which the light is drawn out."""
    n = look.nodes
    turn = layers.brushed_frame(look)
    lines = n.noise(turn.place, detail=3, rough=0.7)
    rough = n.maths("MULTIPLY", look.number("roughness"), n.ramp(lines, 0.3, 0.7, 0.6, 1.4), clamp=True)
    normal = n.bump(look.height(lines, 0.02))
    if look.on("bump"):
        normal = n.bump(look.height(lines, 0.3, "bump"), normal)
    shade = n.ramp(lines, 0.3, 0.7, 0.72, 1.12)
    colour = n.vector("MULTIPLY", look.colour("body"), shade)
    return SurfaceSockets(colour, rough, 1.0, normal, anisotropic=0.75, tangent=turn.tangent)


def _rust(look: Look) -> SurfaceSockets:
    """Iron rusted over; `rust` closes the last gaps, the body is the rust's main colour."""
    n = look.nodes
    patches = n.noise(look.grains(12), detail=4, rough=0.68)
    cover = n.ramp(look.number("rust"), 0.0, 1.0, 0.65, 1.0)
    tone = n.vector("MULTIPLY", look.colour("body"), tuple(1 / c for c in layers.RUST_BODY))
    tone = n.vector("MULTIPLY", tone, n.ramp(patches, 0.3, 0.68, 0.35, 1.45))
    crust = layers.oxide(look)
    crust = replace(
        crust, colour=n.vector("MULTIPLY", crust.colour, tone), roughness=look.number("roughness")
    )
    bare = SurfaceSockets((0.12, 0.11, 0.105), 0.6, 0.6)
    return n.blend(layers.share(look, patches, cover, 0.06), bare, crust)


def _glass(look: Look) -> SurfaceSockets:
    """Clear glass, which lets most light through to what it stands on.

    Without caustics its shadow would be black, and so would be a path that is caught within.
    """
    n = look.nodes
    path = n.add("ShaderNodeLightPath").outputs
    caught = n.maths("GREATER_THAN", path["Ray Depth"], 2.5)
    through = n.maths("MAXIMUM", n.maths("MULTIPLY", path["Is Shadow Ray"], 0.8), caught)
    alpha = n.maths("SUBTRACT", 1.0, through)
    return SurfaceSockets(
        look.colour("body"), look.number("roughness"), transmission=1.0, alpha=alpha, ior=1.5
    )


def _random(look: Look) -> SurfaceSockets:
    """Any look: blots, bands or specks of the second colour, as the seed has it."""
    n, colour = look.nodes, look.colour("body")
    metallic = look.number("metallic") if look.on("metallic") else 0.0
    if look.on("marble"):
        drawn = n.combine(look.number("draw_x"), look.number("draw_y"), 1.0)
        noise = n.noise(n.vector("MULTIPLY", look.grains(), drawn), detail=3, distortion=0.8)
        edge = look.number("edge")
        pattern = n.ramp(noise, n.maths("SUBTRACT", 0.5, edge), n.maths("ADD", 0.5, edge))
        colour = n.mix(n.maths("MULTIPLY", pattern, look.number("marble")), colour, look.colour("second"))
    return SurfaceSockets(colour, look.number("roughness"), metallic)


def _any_pattern(seed: float) -> Mapping[str, float]:
    """How drawn out along x and y, and how sharp, a random pattern is."""
    u, v, w = (math.sin(seed * k + k) * 0.5 + 0.5 for k in (12.9898, 78.233, 37.719))
    return {
        "draw_x": 0.06 if u < 0.3 else 1.0,
        "draw_y": 0.06 if v < 0.3 else 1.0,
        "edge": 0.01 + 0.2 * w * w,
    }


#: Options of every metal.
_WORN = ("wear", "rust", "bump")

FAMILIES: dict[str, Family] = {
    "plastic": Family(_plastic, (0.5, 0.5, 0.48), {"roughness": 0.3}, ("marble", "translucency", "wear", "bump"), layers.scuffed),
    "metal": Family(_metal, (0.56, 0.56, 0.57), {"roughness": 0.3}, _WORN, layers.scratched_metal),
    "paint": Family(_paint, (0.3, 0.02, 0.02), {"roughness": 0.05}, ("marble", "metallic", *_WORN), layers.chipped),
    "rubber": Family(_rubber, (0.015, 0.015, 0.016), {"roughness": 0.75}, ("wear", "bump"), layers.dusty),
    "cast": Family(_cast, (0.1, 0.1, 0.105), {"roughness": 0.6}, _WORN, layers.flaked),
    "ground": Family(_ground, (0.55, 0.55, 0.56), {"roughness": 0.3}, _WORN, layers.scratched_metal),
    "rust": Family(_rust, layers.RUST_BODY, {"roughness": 0.9, "rust": 0.7}, ("wear",), layers.flaked),
    "glass": Family(_glass, (0.92, 0.95, 0.95), {"roughness": 0.02}, ("wear",), layers.smeared),
    "image": Family(image_textures.image, (0.5, 0.5, 0.5), {"roughness": 0.5}, ("metallic", *_WORN), layers.scuffed),
    "pbr": Family(image_textures.pbr, (0.5, 0.5, 0.5), {"roughness": 0.5}, ("metallic", *_WORN), layers.scuffed),
    "random": Family(_random, (0.5, 0.5, 0.5), {"roughness": 0.4}, ("marble", "metallic"), None, _any_pattern),
    **{
        f"stage-{name}": Family(build_stage, (0.5, 0.5, 0.5), {"roughness": 0.6, "grain_m": 0.01, "grain": 0.2}, ("metallic",))
        for name, build_stage in stages.PATTERNS.items()
    },
}  # fmt: skip
