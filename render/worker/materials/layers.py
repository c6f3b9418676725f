"""Layers on a surface: inlaid paint, rust, scratches, chips, flakes, dirt."""

from __future__ import annotations

from dataclasses import replace

from render.core.spec import Vector
from render.worker.materials.inputs import MaterialInputs
from render.worker.materials.nodes import SurfaceSockets, Value

#: Linear RGB from wet dark oxide to dry bright hydroxide.
RUST: tuple[tuple[float, Vector], ...] = (
    (0.28, (0.028, 0.013, 0.010)),
    (0.44, (0.095, 0.036, 0.018)),
    (0.57, (0.215, 0.080, 0.030)),
    (0.74, (0.330, 0.175, 0.085)),
)
#: Mean colour of RUST.
RUST_BODY: Vector = (0.155, 0.060, 0.026)


def share(inputs: MaterialInputs, noise: Value, amount: Value, edge: float) -> Value:
    """Return a mask that covers the share `amount` of the surface; edge: half the width of its border."""
    n = inputs.nodes
    # Noise of several octaves lies within 0.5 +- 0.26, so amounts from 0 to 1 cover none to all.
    at = n.maths("MULTIPLY_ADD", amount, -0.54, 0.77)
    return n.ramp(noise, n.maths("SUBTRACT", at, edge), n.maths("ADD", at, edge))


def brushed(inputs: MaterialInputs, size: float = 0.25) -> tuple[Value, Value]:
    """Return coordinates in cells, stretched along lines `size` grains wide, and the lines' direction.

    The lines run along the object's x, or along y where the surface faces x.
    """
    n = inputs.nodes
    x, _, _ = n.separate(n.facing)
    end = n.maths("GREATER_THAN", n.maths("ABSOLUTE", x), 0.75)
    place = n.mix(end, inputs.grains(size, (80.0, 1.0, 1.0)), inputs.grains(size, (1.0, 80.0, 1.0)), "VECTOR")
    along = n.mix(end, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), "VECTOR")
    return place, n.to_world(along)


def accent(inputs: MaterialInputs, surface: SurfaceSockets) -> SurfaceSockets:
    """Add opaque paint where the mesh attribute "accent" is 1."""
    n = inputs.nodes
    inlaid = n.attribute("accent")
    fields = {"transmission": surface.transmission, "metallic": surface.metallic}
    opaque = {
        name: value if value == 0.0 else n.maths("SUBTRACT", value, inlaid, clamp=True)
        for name, value in fields.items()
    }
    return replace(surface, colour=n.mix(inlaid, surface.colour, inputs.colour("accent")), **opaque)


def rust(inputs: MaterialInputs, surface: SurfaceSockets) -> SurfaceSockets:
    """Add patches of rust on the share `rust` of the surface, with a stain around them."""
    n = inputs.nodes
    patches = n.noise(inputs.grains(10), detail=4, rough=0.68)
    crust = oxide(inputs, surface.normal)
    amount = inputs.number("rust")
    stain = n.maths("MULTIPLY", share(inputs, patches, amount, 0.12), 0.6)
    tinted = replace(surface, colour=n.mix(stain, surface.colour, (0.13, 0.055, 0.025)))
    return n.blend(share(inputs, patches, amount, 0.03), tinted, crust)


def oxide(inputs: MaterialInputs, below: Value | None = None) -> SurfaceSockets:
    """Build rust alone: rough and crumbly, from dark to bright."""
    n = inputs.nodes
    crumbs = n.noise(inputs.grains(2.0), detail=3, rough=0.8)
    normal = n.bump(inputs.height(crumbs, 0.5), below)
    return SurfaceSockets(n.gradient(crumbs, RUST), roughness=0.92, normal=normal, specular=0.25)


def scratches(inputs: MaterialInputs, amount: Value) -> Value:
    """Return a mask of fine lines; every patch of about twenty grains has a direction of its own."""
    n = inputs.nodes
    patch = n.cells(inputs.grains(20)).outputs["Color"]
    along = n.vector("SUBTRACT", patch, (0.5, 0.5, 0.5))
    across = n.vector("NORMALIZE", n.vector("CROSS_PRODUCT", along, n.facing))
    place = inputs.grains(1.5)
    u, v = n.vector("DOT_PRODUCT", place, across), n.vector("DOT_PRODUCT", place, along)
    lines = n.noise(n.combine(u, n.maths("MULTIPLY", v, 0.05), n.separate(patch)[0]), detail=1)
    off = n.maths("ABSOLUTE", n.maths("SUBTRACT", lines, 0.5))
    return n.ramp(off, 0.0, n.maths("MULTIPLY_ADD", amount, 0.012, 0.002), 1.0, 0.0)


def scratched_metal(inputs: MaterialInputs, surface: SurfaceSockets) -> SurfaceSockets:
    """Add fine scratches, and dull smears from handling."""
    n = inputs.nodes
    wear = inputs.number("wear")
    lines = scratches(inputs, wear)
    smears = n.ramp(n.noise(inputs.grains(12), detail=3), 0.42, 0.72, 0.0, 0.25)
    rough = n.maths("MULTIPLY_ADD", smears, wear, surface.roughness, clamp=True)
    # A bump would show the lines better, but would evaluate their noise three times.
    rough = n.maths("MULTIPLY_ADD", lines, 0.3, rough, clamp=True)
    dark = n.vector("MULTIPLY", surface.colour, (0.6, 0.6, 0.6))
    return replace(
        surface, roughness=rough, colour=n.mix(n.maths("MULTIPLY", lines, 0.6), surface.colour, dark)
    )


def scuffed(inputs: MaterialInputs, surface: SurfaceSockets) -> SurfaceSockets:
    """Add scratches that are paler than the body."""
    n = inputs.nodes
    lines = n.maths("MULTIPLY", scratches(inputs, inputs.number("wear")), 0.5)
    pale = n.mix(0.35, surface.colour, (0.6, 0.6, 0.6))
    rough = n.maths("MULTIPLY_ADD", lines, 0.4, surface.roughness, clamp=True)
    return replace(surface, colour=n.mix(lines, surface.colour, pale), roughness=rough)


def chipped(inputs: MaterialInputs, surface: SurfaceSockets) -> SurfaceSockets:
    """Add sharp-edged chips in the paint: primer at their edge, bare steel inside."""
    n = inputs.nodes
    noise = n.noise(inputs.grains(5), detail=4, rough=0.7)
    amount = n.maths("MULTIPLY", inputs.number("wear"), 0.8)
    gone = share(inputs, noise, amount, 0.006)
    through = share(inputs, noise, n.maths("SUBTRACT", amount, 0.06), 0.01)
    colour = n.mix(through, (0.28, 0.27, 0.25), (0.42, 0.40, 0.38))
    rough = n.mix(through, 0.8, 0.45, "FLOAT")
    normal = n.bump(inputs.height(gone, -0.08), surface.normal)
    bare = SurfaceSockets(colour, rough, metallic=through, normal=normal)
    return n.blend(gone, replace(surface, normal=normal), bare)


def flaked(inputs: MaterialInputs, surface: SurfaceSockets) -> SurfaceSockets:
    """Remove scale or cast skin in flakes, which shows the paler, smoother metal below.

    The step at the edge of a flake is left out: it is too low to be seen, and a bump would evaluate the noise
    three times.
    """
    n = inputs.nodes
    noise = n.noise(inputs.grains(14, (1.6, 1.0, 1.0)), detail=5, rough=0.7)
    bare = share(inputs, noise, inputs.number("wear"), 0.015)
    dim = n.vector("MULTIPLY", surface.colour, (0.8, 0.8, 0.8))
    colour = n.mix(bare, surface.colour, n.mix(0.35, dim, (0.42, 0.41, 0.40)))
    rough = n.maths("MULTIPLY_ADD", bare, -0.15, surface.roughness, clamp=True)
    metallic = n.mix(bare, surface.metallic, 0.8, "FLOAT")
    return replace(surface, colour=colour, roughness=rough, metallic=metallic)


def dusty(inputs: MaterialInputs, surface: SurfaceSockets) -> SurfaceSockets:
    """Add dust and abrasion: grey and dull in clouds."""
    n = inputs.nodes
    cloud = n.noise(inputs.grains(15), detail=5, rough=0.65)
    grey = n.maths("MULTIPLY", share(inputs, cloud, inputs.number("wear"), 0.15), 0.4)
    return replace(
        surface,
        colour=n.mix(grey, surface.colour, (0.20, 0.18, 0.16)),
        roughness=n.mix(grey, surface.roughness, 0.95, "FLOAT"),
    )


def smeared(inputs: MaterialInputs, surface: SurfaceSockets) -> SurfaceSockets:
    """Add scratches and dull smears, as on glass that was touched."""
    n = inputs.nodes
    wear = inputs.number("wear")
    cloud = share(inputs, n.noise(inputs.grains(10), detail=4), wear, 0.15)
    dull = n.maths(
        "MAXIMUM", n.maths("MULTIPLY", cloud, 0.25), n.maths("MULTIPLY", scratches(inputs, wear), 0.6)
    )
    return replace(surface, roughness=n.maths("ADD", surface.roughness, dull, clamp=True))
