"""Surroundings from the HDRIs that ship with Blender, and area lamps."""

from __future__ import annotations

from pathlib import Path

import bpy
import mathutils

from render.spec import LampSpec, LightSpec
from render.worker.materials import Nodes


class Skies:
    """One world per HDRI, made when first asked for."""

    def __init__(self) -> None:
        """Start empty."""
        self._worlds: dict[str, bpy.types.World] = {}

    def light(self, scene: bpy.types.Scene, light: LightSpec) -> None:
        """Set the surroundings and add the lamps."""
        world = self._world(light.hdri)
        world.node_tree.nodes["Background"].inputs["Strength"].default_value = light.strength
        world.node_tree.nodes["Mapping"].inputs["Rotation"].default_value = (0.0, 0.0, light.rotation_rad)
        scene.world = world
        for number, lamp in enumerate(light.lamps):
            _hang(scene, lamp, number)

    def _world(self, hdri: str) -> bpy.types.World:
        if hdri not in self._worlds:
            folder = Path(bpy.utils.system_resource("DATAFILES")) / "studiolights" / "world"
            world = bpy.data.worlds.new(hdri)
            world.use_nodes = True
            world.use_fake_user = True
            n = Nodes(world.node_tree)
            turned = n.add("ShaderNodeMapping", {"Vector": n.add("ShaderNodeTexCoord").outputs["Generated"]})
            sky = n.add("ShaderNodeTexEnvironment", {"Vector": turned.outputs[0]})
            sky.image = bpy.data.images.load(str(folder / f"{hdri}.exr"))
            shade = n.add("ShaderNodeBackground", {"Color": sky.outputs[0]})
            n.add("ShaderNodeOutputWorld", {"Surface": shade.outputs[0]})
            # AUTOMATIC builds the importance map at the HDRI's own size: 1.6 s for every change; 512: 0.08 s.
            world.cycles.sampling_method = "MANUAL"
            world.cycles.sample_map_resolution = 512
            self._worlds[hdri] = world
        return self._worlds[hdri]


def _hang(scene: bpy.types.Scene, lamp: LampSpec, number: int) -> None:
    data = bpy.data.lights.new(f"lamp {number}", "AREA")
    data.energy, data.size, data.color = lamp.power_w, lamp.size_m, lamp.colour
    thing = bpy.data.objects.new(f"lamp {number}", data)
    place = mathutils.Vector(lamp.location)
    aim = (-place).to_track_quat("-Z", "Y").to_matrix().to_4x4()
    thing.matrix_world = mathutils.Matrix.Translation(place) @ aim
    scene.collection.objects.link(thing)
