"""Photographed surfaces: one picture, or a set of them by role.

A mesh with texture coordinates uses those (one tile over [0, 1]). Any other is projected upon along its own
three axes, a tile `tile_m` wide, the seams blended.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpy

from render.core.errors import AssetError
from render.worker.materials.look import Look
from render.worker.materials.nodes import SurfaceSockets, Value

#: How narrow the seams between the three projections are.
_SEAM = 8.0
#: Height of a map's white over its black, in tiles.
_RELIEF = 0.02


def image(look: Look) -> SurfaceSockets:
    """A picture as colour; `bump` raises what is bright in it."""
    colour = _sample(look, "colour") if look.on("colour") else look.colour("body")
    metallic = look.number("metallic") if look.on("metallic") else 0.0
    normal = None
    if look.on("bump") and look.on("colour"):
        normal = _raised(look, colour, look.number("bump"), None)
    return SurfaceSockets(colour, look.number("roughness"), metallic, normal)


def pbr(look: Look) -> SurfaceSockets:
    """Pictures of colour, roughness, metallic, normal (OpenGL's: green is up) and height; what lacks is a number."""
    colour = _sample(look, "colour") if look.on("colour") else look.colour("body")
    rough = _sample(look, "roughness") if "roughness" in look.spec.images else look.number("roughness")
    if "metallic" in look.spec.images:
        metallic = _sample(look, "metallic")
    else:
        metallic = look.number("metallic") if look.on("metallic") else 0.0
    return SurfaceSockets(colour, rough, metallic, _normal(look))


def _normal(look: Look) -> Value | None:
    n, images = look.nodes, look.spec.images
    if "normal" in images and look.uv:
        return n.add("ShaderNodeNormalMap", {"Color": _sample(look, "normal")}).outputs[0]
    normal = _projected_normal(look) if "normal" in images else None
    if "height" not in images or (normal is not None and not look.on("bump")):
        return normal
    strength = look.number("bump") if look.on("bump") else 0.5
    return _raised(look, _sample(look, "height"), strength, normal)


def _raised(look: Look, pattern: Value, strength: Value, below: Value | None) -> Value:
    n = look.nodes
    height = n.maths("MULTIPLY", n.maths("MULTIPLY", look.number("tile_m"), _RELIEF), strength)
    return n.bump(n.maths("MULTIPLY", pattern, height), below)


def _sample(look: Look, role: str) -> Value:
    n, picture = look.nodes, _load(look.spec.images[role], role)
    if look.uv:
        place = n.add("ShaderNodeTexCoord").outputs["UV"]
        return n.add("ShaderNodeTexImage", {"Vector": place}, image=picture).outputs[0]
    blended: Value = (0.0, 0.0, 0.0)
    for (tile, _), weight in zip(_projections(look, picture), _weights(look), strict=True):
        blended = n.vector("MULTIPLY_ADD", tile, weight, blended)
    return blended


def _projected_normal(look: Look) -> Value:
    """The normal map seen along each axis tilts the mesh's normal by its slopes in the other two.

    A map's slope in u or v is a slope along one of the object's axes; the three, weighted by how much the
    surface faces their axis, add up ("UDN" blending; Mikkelsen, Surface gradient-based bump mapping, 2020).
    """
    n, tilted = look.nodes, look.nodes.facing()
    picture = _load(look.spec.images["normal"], "normal")
    for (tile, axis), weight in zip(_projections(look, picture), _weights(look), strict=True):
        du, dv, _ = n.separate(n.vector("MULTIPLY_ADD", tile, 2.0, -1.0))
        slopes = [du, dv]
        slopes.insert(axis, 0.0)
        tilted = n.vector("MULTIPLY_ADD", n.combine(*slopes), weight, tilted)
    return n.to_world(tilted, "NORMAL")


def _projections(look: Look, picture: bpy.types.Image) -> Iterator[tuple[Value, int]]:
    """The picture seen along x, y and z, upright on the sides, its right along the object's x on top.

    Blender's own box projection turns it by a quarter on top, which normal maps would have to undo.
    """
    n = look.nodes
    x, y, z = n.separate(_tiles(look))
    for axis, (u, v) in enumerate(((y, z), (x, z), (x, y))):
        place = n.combine(u, v, 0.0)
        yield n.add("ShaderNodeTexImage", {"Vector": place}, image=picture).outputs[0], axis


def _weights(look: Look) -> tuple[Value, Value, Value]:
    """How much of each projection shows: that of the axis the surface faces, shared at the seams."""
    n = look.nodes
    x, y, z = n.separate(n.vector("ABSOLUTE", n.facing()))
    sharp = n.combine(*(n.maths("POWER", v, _SEAM) for v in (x, y, z)))
    total = n.vector("DOT_PRODUCT", sharp, (1.0, 1.0, 1.0))
    return n.separate(n.vector("DIVIDE", sharp, total))


def _tiles(look: Look) -> Value:
    n = look.nodes
    return n.vector("ADD", n.vector("DIVIDE", n.metres(), look.number("tile_m")), look.shift())


def _load(path: str, role: str) -> bpy.types.Image:
    """A picture of its own for every role, whose colour space it decides."""
    picture = load_image(path)
    if role != "colour":
        picture.colorspace_settings.name = "Non-Color"
    return picture


def load_image(path: str) -> bpy.types.Image:
    """A picture Blender can read; raises AssetError for any other."""
    try:
        picture = bpy.data.images.load(str(Path(path)))
    except RuntimeError as error:
        raise AssetError(f"expected a picture at {path}, got: {error}") from error
    if min(picture.size) == 0:
        bpy.data.images.remove(picture)
        raise AssetError(f"expected a picture at {path}, got a file that cannot be read as one")
    return picture
