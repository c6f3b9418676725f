"""Materials from images: one image, or a set of images by role.

On a mesh with texture coordinates, one tile covers [0, 1]. On any other mesh the image is projected along the
three axes of the object, in tiles `tile_m` wide, with blended seams.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import bpy

from render.core.errors import AssetError
from render.worker.materials.inputs import MaterialInputs
from render.worker.materials.nodes import SurfaceSockets, Value

#: Sharpness of the seams between the three projections.
_SEAM = 8.0
#: Height of white over black in a height map, in tiles.
_RELIEF = 0.02


def image(inputs: MaterialInputs) -> SurfaceSockets:
    """Build a material whose colour is an image; with `bump`, brightness is height."""
    surface = pbr(inputs)
    if not (inputs.on("bump") and inputs.on("colour")):
        return surface
    return replace(surface, normal=_bump_normal(inputs, surface.colour, inputs.number("bump"), None))


def pbr(inputs: MaterialInputs) -> SurfaceSockets:
    """Build a material from images of colour, roughness, metallic, normal and height.

    Numbers replace missing images. Normal maps follow OpenGL: green is up.
    """
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
    return _bump_normal(inputs, _sample(inputs, "height"), strength, normal)


def _bump_normal(inputs: MaterialInputs, pattern: Value, strength: Value, below: Value | None) -> Value:
    n = inputs.nodes
    height = n.maths("MULTIPLY", n.maths("MULTIPLY", inputs.number("tile_m"), _RELIEF), strength)
    return n.bump(n.maths("MULTIPLY", pattern, height), below)


def _sample(inputs: MaterialInputs, role: str) -> Value:
    n, texture = inputs.nodes, load_image(inputs.spec.images[role], role)
    if inputs.uv:
        place = n.add("ShaderNodeTexCoord").outputs["UV"]
        return n.add("ShaderNodeTexImage", {"Vector": place}, image=texture).outputs[0]
    blended: Value = (0.0, 0.0, 0.0)
    for tile, weight, _ in _projections(inputs, texture):
        blended = n.vector("MULTIPLY_ADD", tile, weight, blended)
    return blended


def _projected_normal(inputs: MaterialInputs) -> Value:
    """Return the normal of a normal map that is projected along the three axes.

    A slope of the map in u or v is a slope along one of the object's axes. The slopes of the projections are
    weighted by how much the surface faces each axis, and added to the normal of the mesh ("UDN" blending;
    Mikkelsen, Surface gradient-based bump mapping, 2020).
    """
    n, tilted = inputs.nodes, inputs.nodes.facing
    texture = load_image(inputs.spec.images["normal"], "normal")
    for tile, weight, axis in _projections(inputs, texture):
        du, dv, _ = n.separate(n.vector("MULTIPLY_ADD", tile, 2.0, -1.0))
        slopes = [du, dv]
        slopes.insert(axis, 0.0)
        tilted = n.vector("MULTIPLY_ADD", n.combine(*slopes), weight, tilted)
    return n.to_world(tilted, "NORMAL")


def _projections(inputs: MaterialInputs, texture: bpy.types.Image) -> Iterator[tuple[Value, Value, int]]:
    """Yield the image as projected along x, y and z, its weight, and the number of the axis.

    The image is upright on the sides. On top, its right is the object's x. (Blender's own box projection
    rotates it by 90° there, which normal maps would have to undo.) The axis that the surface faces has the
    most weight.
    """
    n = inputs.nodes
    tiles = n.vector("DIVIDE", n.metres, inputs.number("tile_m"))
    x, y, z = n.separate(n.vector("ADD", tiles, inputs.shift()))
    sharp = n.combine(*(n.maths("POWER", v, _SEAM) for v in n.separate(n.vector("ABSOLUTE", n.facing))))
    weights = n.separate(n.vector("DIVIDE", sharp, n.vector("DOT_PRODUCT", sharp, (1.0, 1.0, 1.0))))
    for axis, (u, v) in enumerate(((y, z), (x, z), (x, y))):
        place = {"Vector": n.combine(u, v, 0.0)}
        yield n.add("ShaderNodeTexImage", place, image=texture).outputs[0], weights[axis], axis


def load_image(path: str, role: str = "colour") -> bpy.types.Image:
    """Load an image; its colour space depends on its role.

    Raises AssetError for a file that Blender cannot read.
    """
    try:
        texture = bpy.data.images.load(path)
    except RuntimeError as error:
        raise AssetError(f"expected an image at {path}, got: {error}") from error
    if min(texture.size) == 0:
        bpy.data.images.remove(texture)
        raise AssetError(f"expected an image at {path}, got a file that cannot be read as one")
    if role != "colour":
        texture.colorspace_settings.name = "Non-Color"
    return texture
