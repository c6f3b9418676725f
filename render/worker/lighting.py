"""Lights a scene: a panorama as surroundings, and lamps."""

from __future__ import annotations

from pathlib import Path

import bpy
import mathutils

from render.assets.ies import peak
from render.core.spec import LampSpec, LightSpec
from render.recipe.tables import SKIES
from render.worker.materials.image_textures import load_image
from render.worker.materials.nodes import Nodes

#: Panoramas kept in memory; one of 4096 x 2048 takes 130 MB.
_KEPT = 8


class Skies:
    """One world per panorama, created on first use; the least recently used are removed first."""

    def __init__(self) -> None:
        """Start empty."""
        self._worlds: dict[str, bpy.types.World] = {}

    def light(self, scene: bpy.types.Scene, light: LightSpec) -> None:
        """Set the surroundings of a scene and add its lamps."""
        world = self._world(light.sky)
        world.node_tree.nodes["Background"].inputs["Strength"].default_value = light.strength
        world.node_tree.nodes["Mapping"].inputs["Rotation"].default_value = light.rotation_rad
        scene.world = world
        for number, lamp in enumerate(light.lamps):
            _add_lamp(scene, lamp, number)

    def _world(self, sky: str) -> bpy.types.World:
        if sky in self._worlds:
            self._worlds[sky] = self._worlds.pop(sky)
            return self._worlds[sky]
        while len(self._worlds) >= _KEPT:
            oldest = self._worlds.pop(next(iter(self._worlds)))
            bpy.data.images.remove(oldest.node_tree.nodes["Environment Texture"].image)
            bpy.data.worlds.remove(oldest)
        self._worlds[sky] = _new_world(sky)
        return self._worlds[sky]


def _new_world(sky: str) -> bpy.types.World:
    """Return a world lit by a sky that ships with Blender, or by an equirectangular image."""
    path = Path(sky)
    if sky in SKIES:
        path = Path(bpy.utils.system_resource("DATAFILES")) / "studiolights" / "world" / f"{sky}.exr"
    world = bpy.data.worlds.new(path.stem)
    world.use_nodes = True
    world.use_fake_user = True
    n = Nodes(world.node_tree)
    mapping = n.add("ShaderNodeMapping", {"Vector": n.add("ShaderNodeTexCoord").outputs["Generated"]})
    colour = n.add("ShaderNodeTexEnvironment", {"Vector": mapping.outputs[0]}, image=load_image(str(path)))
    shade = n.add("ShaderNodeBackground", {"Color": colour.outputs[0]})
    n.add("ShaderNodeOutputWorld", {"Surface": shade.outputs[0]})
    # AUTOMATIC builds the importance map at the size of the panorama, which takes 1.6 s for every change.
    # 512 takes 0.08 s.
    world.cycles.sampling_method = "MANUAL"
    world.cycles.sample_map_resolution = 512
    return world


def _add_lamp(scene: bpy.types.Scene, lamp: LampSpec, number: int) -> None:
    data = bpy.data.lights.new(f"lamp {number}", lamp.kind.upper())
    data.energy, data.color = lamp.power_w, lamp.colour
    if lamp.kind == "area":
        data.size = lamp.size_m
    elif lamp.kind == "sun":
        data.angle = lamp.angle_rad
    else:
        data.shadow_soft_size = lamp.size_m
    if lamp.kind == "spot":
        data.spot_size, data.spot_blend = lamp.angle_rad, 0.2
    if lamp.ies:
        _apply_ies_profile(data, lamp.ies)
    obj = bpy.data.objects.new(f"lamp {number}", data)
    place = mathutils.Vector(lamp.location)
    direction = mathutils.Vector(lamp.aim) - place
    down = mathutils.Vector((0.0, 0.0, -1.0))
    rotation = (direction if direction.length > 0 else down).to_track_quat("-Z", "Y").to_matrix().to_4x4()
    obj.matrix_world = mathutils.Matrix.Translation(place) @ rotation
    scene.collection.objects.link(obj)


def _apply_ies_profile(data: bpy.types.Light, ies: str) -> None:
    """Shape the light of a lamp by an IES photometric file.

    The brightest direction is as bright as without the file.
    """
    data.use_nodes = True
    n = Nodes(data.node_tree)
    profile = n.add("ShaderNodeTexIES", {"Strength": 1.0 / peak(Path(ies))}, mode="EXTERNAL", filepath=ies)
    emission = n.add("ShaderNodeEmission", {"Strength": profile.outputs[0]})
    n.add("ShaderNodeOutputLight", {"Surface": emission.outputs[0]})
