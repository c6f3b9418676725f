"""Material families: the kinds of material of a part.

A builder makes the bare surface. `render.worker.materials.layers` adds accent, wear and rust.

Numbers mean the same in all families: roughness; grain_m, size of the finest features; bump, their height;
wear and rust, how much is visible; seed, position in the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from render.core.spec import MaterialSpec, Vector
from render.worker.materials import image_textures, layers, stages
from render.worker.materials.inputs import MaterialInputs
from render.worker.materials.nodes import Nodes, SurfaceSockets

Builder = Callable[[MaterialInputs], SurfaceSockets]
Layer = Callable[[MaterialInputs, SurfaceSockets], SurfaceSockets]


@dataclass(frozen=True)
class MaterialFamily:
    """One kind of material.

    build: builder of the bare surface.
    body: default colour.
    numbers: default values.
    options: numbers that switch on a part of the tree if they are above 0.
    wear: layer that shows use.
    varied: seed -> further numbers.
    """

    build: Builder
    body: Vector
    numbers: Mapping[str, float] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    wear: Layer | None = None
    varied: Callable[[float], Mapping[str, float]] | None = None


def with_defaults(spec: MaterialSpec) -> MaterialSpec:
    """Return the spec with every number and colour that its family reads."""
    family = MATERIAL_FAMILIES[spec.kind]
    body = spec.colours.get("body", family.body)
    colours = {"body": body, "second": tuple(0.4 * c for c in body), **spec.colours}
    usual = {"roughness": 0.5, "metallic": 0.0, "grain_m": 0.002, "tile_m": spec.tile_m, **family.numbers}
    varied = family.varied(spec.seed) if family.varied else {}
    return msgspec.structs.replace(spec, colours=colours, numbers={**usual, **varied, **spec.numbers})


def options(spec: MaterialSpec) -> tuple[str, ...]:
    """Return the options that a spec with defaults switches on; specs with equal options share a material."""
    family = MATERIAL_FAMILIES[spec.kind]
    enabled = [name for name in family.options if spec.numbers.get(name, 0.0) > 0]
    return tuple(enabled + ["accent"] * ("accent" in spec.colours))


def build(inputs: MaterialInputs) -> SurfaceSockets:
    """Build the surface of a spec with defaults, including all layers."""
    family = MATERIAL_FAMILIES[inputs.spec.kind]
    enabled = options(inputs.spec)
    surface = family.build(inputs)
    if "accent" in enabled:
        surface = layers.accent(inputs, surface)
    if "wear" in enabled and family.wear is not None:
        surface = family.wear(inputs, surface)
    return layers.rust(inputs, surface) if "rust" in enabled else surface


def build_embedded(nodes: Nodes, spec: MaterialSpec) -> SurfaceSockets:
    """Build a material inside the tree of another material; its values are constants of that tree."""
    return build(MaterialInputs(nodes, with_defaults(spec), shared=False))


# ---- builders --------------------------------------------------------------------------------------------


def _plastic(inputs: MaterialInputs) -> SurfaceSockets:
    n, colour, normal = inputs.nodes, inputs.colour("body"), None
    if inputs.on("marble"):
        swirl = n.ramp(n.noise(inputs.grains(), detail=2, distortion=1.5), 0.42, 0.58)
        colour = n.mix(n.maths("MULTIPLY", swirl, inputs.number("marble")), colour, inputs.colour("second"))
    if inputs.on("bump"):
        normal = n.bump(inputs.height(n.noise(inputs.grains(0.5), detail=2), 0.15, "bump"))
    clear = inputs.option("translucency")
    return SurfaceSockets(colour, inputs.number("roughness"), normal=normal, transmission=clear)


def _metal(inputs: MaterialInputs) -> SurfaceSockets:
    n, normal = inputs.nodes, None
    cloud = n.noise(inputs.grains(6), detail=3)
    rough = n.maths("MULTIPLY", inputs.number("roughness"), n.ramp(cloud, 0.3, 0.7, 0.8, 1.2), clamp=True)
    if inputs.on("bump"):
        normal = n.bump(inputs.height(n.noise(inputs.grains(3), detail=1), 0.4, "bump"))
    return SurfaceSockets(inputs.colour("body"), rough, 1.0, normal)


def _paint(inputs: MaterialInputs) -> SurfaceSockets:
    """Build car paint: a base coat, optionally with flakes or a flip colour, under a clear coat."""
    n, colour, peel = inputs.nodes, inputs.colour("body"), None
    base = SurfaceSockets(colour, 0.5, coat=1.0, coat_roughness=inputs.number("roughness"))
    if inputs.on("marble"):
        grazing = n.add("ShaderNodeLayerWeight", {"Blend": 0.35}).outputs["Facing"]
        flip = n.maths("MULTIPLY", grazing, inputs.number("marble"))
        base = replace(base, colour=n.mix(flip, colour, inputs.colour("second")))
    if inputs.on("metallic"):
        flake = n.cells(inputs.grains(0.15)).outputs["Color"]
        tilt = n.vector("SUBTRACT", flake, (0.5, 0.5, 0.5))
        normal = n.vector("NORMALIZE", n.vector("MULTIPLY_ADD", tilt, 0.35, n.upright))
        base = replace(base, metallic=inputs.number("metallic"), roughness=0.35, normal=normal)
    if inputs.on("bump"):
        peel = n.bump(inputs.height(n.noise(inputs.grains(1.5), detail=1), 0.06, "bump"))
    return replace(base, coat_normal=peel)


def _rubber(inputs: MaterialInputs) -> SurfaceSockets:
    n = inputs.nodes
    skin = n.noise(inputs.grains(0.5), detail=3)
    colour = n.mix(n.ramp(skin, 0.3, 0.7, 0.0, 0.4), inputs.colour("body"), (0.06, 0.06, 0.06))
    normal = n.bump(inputs.height(skin, 0.12))
    if inputs.on("bump"):
        normal = n.bump(inputs.height(n.noise(inputs.grains(2)), 0.4, "bump"), normal)
    return SurfaceSockets(colour, inputs.number("roughness"), normal=normal, specular=0.35)


def _cast(inputs: MaterialInputs) -> SurfaceSockets:
    """Build sand-cast iron, or steel under mill scale: a granular skin over a slight unevenness."""
    n = inputs.nodes
    sand = n.noise(inputs.grains(), detail=2, rough=0.8)
    cloud = n.noise(inputs.grains(25, (3.0, 1.0, 1.0)), detail=4)
    shade = n.maths("MULTIPLY_ADD", cloud, 0.9, n.ramp(sand, 0.3, 0.7, 0.25, 0.85))
    colour = n.vector("MULTIPLY", inputs.colour("body"), shade)
    rough = n.maths("MULTIPLY", inputs.number("roughness"), n.ramp(cloud, 0.3, 0.7, 0.8, 1.2), clamp=True)
    normal = n.bump(inputs.height(sand, 0.25))
    if inputs.on("bump"):
        normal = n.bump(inputs.height(n.noise(inputs.grains(3)), 1.2, "bump"), normal)
    return SurfaceSockets(colour, rough, metallic=0.65, normal=normal)


def _ground(inputs: MaterialInputs) -> SurfaceSockets:
    """Build machined metal: fine lines with anisotropic reflections."""
    n = inputs.nodes
    place, tangent = layers.brushed(inputs)
    lines = n.noise(place, detail=3, rough=0.7)
    rough = n.maths("MULTIPLY", inputs.number("roughness"), n.ramp(lines, 0.3, 0.7, 0.6, 1.4), clamp=True)
    normal = n.bump(inputs.height(lines, 0.02))
    if inputs.on("bump"):
        normal = n.bump(inputs.height(lines, 0.3, "bump"), normal)
    shade = n.ramp(lines, 0.3, 0.7, 0.72, 1.12)
    colour = n.vector("MULTIPLY", inputs.colour("body"), shade)
    return SurfaceSockets(colour, rough, 1.0, normal, anisotropic=0.75, tangent=tangent)


def _rust(inputs: MaterialInputs) -> SurfaceSockets:
    """Build rusted iron; `rust` is the coverage, the body colour the main colour of the rust."""
    n = inputs.nodes
    patches = n.noise(inputs.grains(12), detail=4, rough=0.68)
    cover = n.ramp(inputs.number("rust"), 0.0, 1.0, 0.65, 1.0)
    tone = n.vector("MULTIPLY", inputs.colour("body"), tuple(1 / c for c in layers.RUST_BODY))
    tone = n.vector("MULTIPLY", tone, n.ramp(patches, 0.3, 0.68, 0.35, 1.45))
    crust = layers.oxide(inputs)
    crust = replace(
        crust, colour=n.vector("MULTIPLY", crust.colour, tone), roughness=inputs.number("roughness")
    )
    bare = SurfaceSockets((0.12, 0.11, 0.105), 0.6, 0.6)
    return n.blend(layers.share(inputs, patches, cover, 0.06), bare, crust)


def _glass(inputs: MaterialInputs) -> SurfaceSockets:
    """Build clear glass.

    Caustics are off, so shadows of glass and light paths trapped inside it would be black. Transparency to
    both lets most of the light through.
    """
    n = inputs.nodes
    path = n.add("ShaderNodeLightPath").outputs
    caught = n.maths("GREATER_THAN", path["Ray Depth"], 2.5)
    through = n.maths("MAXIMUM", n.maths("MULTIPLY", path["Is Shadow Ray"], 0.8), caught)
    alpha = n.maths("SUBTRACT", 1.0, through)
    return SurfaceSockets(
        inputs.colour("body"), inputs.number("roughness"), transmission=1.0, alpha=alpha, ior=1.5
    )


def _random(inputs: MaterialInputs) -> SurfaceSockets:
    """Build blots, bands or specks of the second colour, depending on the seed."""
    n, colour = inputs.nodes, inputs.colour("body")
    if inputs.on("marble"):
        drawn = n.combine(inputs.number("draw_x"), inputs.number("draw_y"), 1.0)
        noise = n.noise(n.vector("MULTIPLY", inputs.grains(), drawn), detail=3, distortion=0.8)
        edge = inputs.number("edge")
        pattern = n.ramp(noise, n.maths("SUBTRACT", 0.5, edge), n.maths("ADD", 0.5, edge))
        colour = n.mix(n.maths("MULTIPLY", pattern, inputs.number("marble")), colour, inputs.colour("second"))
    return SurfaceSockets(colour, inputs.number("roughness"), inputs.option("metallic"))


def _random_pattern(seed: float) -> Mapping[str, float]:
    """Return stretch along x and y, and sharpness, of a random pattern."""
    u, v, w = (math.sin(seed * k + k) * 0.5 + 0.5 for k in (12.9898, 78.233, 37.719))
    return {
        "draw_x": 0.06 if u < 0.3 else 1.0,
        "draw_y": 0.06 if v < 0.3 else 1.0,
        "edge": 0.01 + 0.2 * w * w,
    }


#: Options of every metal.
_WORN = ("wear", "rust", "bump")
_METALLIC = ("metallic", *_WORN)
_PAINT = ("marble", *_METALLIC)
_PLASTIC = ("marble", "translucency", "wear", "bump")
_STAGE = {"roughness": 0.6, "grain_m": 0.01, "grain": 0.2}
_RUBBER = ("wear", "bump")
_RANDOM = ("marble", "metallic")
_RUSTED = {"roughness": 0.9, "rust": 0.7}
_GREY = (0.5, 0.5, 0.5)

MATERIAL_FAMILIES: dict[str, MaterialFamily] = {
    "plastic": MaterialFamily(_plastic, (0.5, 0.5, 0.48), {"roughness": 0.3}, _PLASTIC, layers.scuffed),
    "metal": MaterialFamily(_metal, (0.56, 0.56, 0.57), {"roughness": 0.3}, _WORN, layers.scratched_metal),
    "paint": MaterialFamily(_paint, (0.3, 0.02, 0.02), {"roughness": 0.05}, _PAINT, layers.chipped),
    "rubber": MaterialFamily(_rubber, (0.015, 0.015, 0.016), {"roughness": 0.75}, _RUBBER, layers.dusty),
    "cast": MaterialFamily(_cast, (0.1, 0.1, 0.105), {"roughness": 0.6}, _WORN, layers.flaked),
    "ground": MaterialFamily(_ground, (0.55, 0.55, 0.56), {"roughness": 0.3}, _WORN, layers.scratched_metal),
    "rust": MaterialFamily(_rust, layers.RUST_BODY, _RUSTED, ("wear",), layers.flaked),
    "glass": MaterialFamily(_glass, (0.92, 0.95, 0.95), {"roughness": 0.02}, ("wear",), layers.smeared),
    "image": MaterialFamily(image_textures.image, _GREY, {"roughness": 0.5}, _METALLIC, layers.scuffed),
    "pbr": MaterialFamily(image_textures.pbr, _GREY, {"roughness": 0.5}, _METALLIC, layers.scuffed),
    "random": MaterialFamily(_random, _GREY, {"roughness": 0.4}, _RANDOM, None, _random_pattern),
    **{
        f"stage-{name}": MaterialFamily(build_stage, _GREY, _STAGE, ("metallic",))
        for name, build_stage in stages.PATTERNS.items()
    },
}  # fmt: skip
