"""Materials from images: one image, or a set of images by role.

A mesh with texture coordinates uses those (one tile over [0, 1]). Any other is projected upon along its own
three axes, a tile `tile_m` wide, the seams blended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import bpy

from render.core.errors import AssetError
from render.worker.materials.inputs import MaterialInputs
from render.worker.materials.nodes import SurfaceSockets, Value

#: How narrow the seams between the three projections are.
_SEAM = 8.0
#: Height of a map's white over its black, in tiles.
_RELIEF = 0.02


def image(inputs: MaterialInputs) -> SurfaceSockets:
    """An image as colour; with `bump`, brightness is height."""
    surface = pbr(inputs)
    if not (inputs.on("bump") and inputs.on("colour")):
        return surface
    return replace(surface, normal=_raised(inputs, surface.colour, inputs.number("bump"), None))


def pbr(inputs: MaterialInputs) -> SurfaceSockets:
    """Images of colour, roughness, metallic, normal (OpenGL: green is up) and height, or numbers."""
    images = inputs.spec.images
    colour = _sample(inputs, "colour") if inputs.on("colour") else inputs.colour("body")
    rough = _sample(inputs, "roughness") if "roughness" in images else inputs.number("roughness")
    metallic = _sample(inputs, "metallic") if "metallic" in images else inputs.option("metallic")
    return SurfaceSockets(colour, rough, metallic, _normal(inputs))


def _normal(inputs: MaterialInputs) -> Value | None:
    n, images = inputs.nodes, inputs.spec.images
    if "normal" in images and inputs.uv:
        return n.add("ShaderNodeNormalMap", {"Color": _sample(inputs, "normal")}).outputs[0]
    normal = _projected_normal(inputs) if "normal" in images else None
    if "height" not in images or (normal is not None and not inputs.on("bump")):
        return normal
    strength = inputs.number("bump") if inputs.on("bump") else 0.5
    return _raised(inputs, _sample(inputs, "height"), strength, normal)


def _raised(inputs: MaterialInputs, pattern: Value, strength: Value, below: Value | None) -> Value:
    n = inputs.nodes
    height = n.maths("MULTIPLY", n.maths("MULTIPLY", inputs.number("tile_m"), _RELIEF), strength)
    return n.bump(n.maths("MULTIPLY", pattern, height), below)


def _sample(inputs: MaterialInputs, role: str) -> Value:
    n, picture = inputs.nodes, load_image(inputs.spec.images[role], role)
    if inputs.uv:
        place = n.add("ShaderNodeTexCoord").outputs["UV"]
        return n.add("ShaderNodeTexImage", {"Vector": place}, image=picture).outputs[0]
    blended: Value = (0.0, 0.0, 0.0)
    for tile, weight, _ in _projections(inputs, picture):
        blended = n.vector("MULTIPLY_ADD", tile, weight, blended)
    return blended


def _projected_normal(inputs: MaterialInputs) -> Value:
    """The normal map seen along each axis tilts the mesh's normal by its slopes in the other two.

    A map's slope in u or v is a slope along one of the object's axes; the three, weighted by how much the
    surface faces their axis, add up ("UDN" blending; Mikkelsen, Surface gradient-based bump mapping, 2020).
    """
    n, tilted = inputs.nodes, inputs.nodes.facing
    picture = load_image(inputs.spec.images["normal"], "normal")
    for tile, weight, axis in _projections(inputs, picture):
        du, dv, _ = n.separate(n.vector("MULTIPLY_ADD", tile, 2.0, -1.0))
        slopes = [du, dv]
        slopes.insert(axis, 0.0)
        tilted = n.vector("MULTIPLY_ADD", n.combine(*slopes), weight, tilted)
    return n.to_world(tilted, "NORMAL")


def _projections(inputs: MaterialInputs, picture: bpy.types.Image) -> Iterator[tuple[Value, Value, int]]:
    """Yield the picture seen along x, y and z, its weight, and the number of the axis.

    It is upright on the sides; on top its right is the object's x. Blender's own box projection rotates it by
    90° on top, which normal maps would have to undo. The axis that the surface faces has most of the weight.
    """
    n = inputs.nodes
    tiles = n.vector("DIVIDE", n.metres, inputs.number("tile_m"))
    x, y, z = n.separate(n.vector("ADD", tiles, inputs.shift()))
    sharp = n.combine(*(n.maths("POWER", v, _SEAM) for v in n.separate(n.vector("ABSOLUTE", n.facing))))
    weights = n.separate(n.vector("DIVIDE", sharp, n.vector("DOT_PRODUCT", sharp, (1.0, 1.0, 1.0))))
    for axis, (u, v) in enumerate(((y, z), (x, z), (x, y))):
        place = {"Vector": n.combine(u, v, 0.0)}
        yield n.add("ShaderNodeTexImage", place, image=picture).outputs[0], weights[axis], axis


def load_image(path: str, role: str = "colour") -> bpy.types.Image:
    """A picture Blender can read, one for every role, which decides its colour space.

    Raises AssetError for any other file.
    """
    try:
        picture = bpy.data.images.load(path)
    except RuntimeError as error:
        raise AssetError(f"expected a picture at {path}, got: {error}") from error
    if min(picture.size) == 0:
        bpy.data.images.remove(picture)
        raise AssetError(f"expected a picture at {path}, got a file that cannot be read as one")
    if role != "colour":
        picture.colorspace_settings.name = "Non-Color"
    return picture
