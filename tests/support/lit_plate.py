"""A plate under even light before a camera of a few pixels, in the real Blender."""

import bpy
import numpy as np

from render.core.spec import LampSpec
from render.worker.appearance import MaterialCache
from render.worker.lighting import Skies
from render.worker.materials.nodes import Nodes, finish

SIDE = 24


class Booth:
    """A plate one unit wide, seen from straight above by a camera that sees it exactly."""

    def __init__(self, folder):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene, self.folder = bpy.context.scene, folder
        self.scene.render.engine = "CYCLES"
        self.scene.cycles.use_denoising = self.scene.cycles.use_adaptive_sampling = False
        self.scene.cycles.max_bounces = 1
        self.scene.render.resolution_x = self.scene.render.resolution_y = SIDE
        self.scene.render.threads_mode, self.scene.render.threads = "FIXED", 2
        self.scene.render.image_settings.file_format = "OPEN_EXR"
        self.scene.render.image_settings.color_depth = "32"
        self.materials, self.skies = MaterialCache(), Skies()
        self.lit(1.0)
        eye = bpy.data.cameras.new("eye")
        eye.type, eye.ortho_scale = "ORTHO", 1.0
        self.scene.camera = bpy.data.objects.new("eye", eye)
        self.scene.camera.location = (0.0, 0.0, 5.0)
        self.scene.collection.objects.link(self.scene.camera)

    def lit(self, strength):
        """Uniform white light from everywhere."""
        world = bpy.data.worlds.new("even")
        world.use_nodes = True
        n = Nodes(world.node_tree)
        shade = n.add("ShaderNodeBackground", {"Color": (1.0, 1.0, 1.0), "Strength": strength})
        n.add("ShaderNodeOutputWorld", {"Surface": shade.outputs[0]})
        self.scene.world = world

    def plate(self, spec=None, unit=1.0, width=1.0, x=0.0, uv=False):
        """A plate `width` wide in the world, whose own unit is `unit` long."""
        half = width / unit / 2
        mesh = bpy.data.meshes.new("plate")
        mesh.from_pydata(
            [(-half, -half, 0), (half, -half, 0), (half, half, 0), (-half, half, 0)], [], [(0, 1, 2, 3)]
        )
        if uv:
            mesh.uv_layers.new(name="uv").data.foreach_set("uv", [0, 0, 1, 0, 1, 1, 0, 1])
        thing = bpy.data.objects.new("plate", mesh)
        thing.scale, thing.location = (unit,) * 3, (x, 0.0, 0.0)
        self.scene.collection.objects.link(thing)
        if spec is not None:
            self.materials.assign_material(thing, spec)
        return thing

    def shoot(self, samples=4):
        """Linear RGB (SIDE, SIDE, 3), first row at the top."""
        self.scene.cycles.samples = samples
        self.scene.update_tag()
        self.scene.render.filepath = str(self.folder / "shot.exr")
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(self.scene.render.filepath)
        pixels = np.array(image.pixels[:], np.float32).reshape(SIDE, SIDE, 4)[::-1, :, :3]
        bpy.data.images.remove(image)
        return pixels


def wear(thing, surface_of):
    """Give a thing a material of its own, made by `surface_of(nodes)`."""
    material = bpy.data.materials.new("own")
    material.use_nodes = True
    n = Nodes(material.node_tree)
    finish(n, surface_of(n))
    thing.data.materials.clear()
    thing.data.materials.append(material)


def sun(location, power=1.0):
    return LampSpec("sun", location, power, (1.0, 1.0, 1.0), angle_rad=0.01)
