"""Builds a Blender scene from a SceneSpec, and empties it."""

from __future__ import annotations

import bpy
import mathutils
import numpy as np

from render.core.spec import ObjectSpec, SceneSpec
from render.geometry.transforms import scale_of
from render.worker.appearance import MaterialCache
from render.worker.lighting import Skies
from render.worker.meshes import BlenderMeshes


class Stage:
    """The one scene of a worker: emptied and set anew for every spec; meshes, materials and skies stay."""

    def __init__(self) -> None:
        """Empty Blender of its default scene."""
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self.meshes = BlenderMeshes()
        self._materials = MaterialCache()
        self._skies = Skies()
        self._things: list[bpy.types.Object] = []

    def set(self, spec: SceneSpec) -> None:
        """Empty the scene and put up what the spec says, bare; the cameras come with the views."""
        for thing in list(bpy.data.objects):
            bpy.data.objects.remove(thing)
        self.meshes.end_scene()
        bpy.data.orphans_purge()
        self._things = [self._add(wanted) for wanted in spec.objects]
        self._skies.light(self.scene, spec.light)

    def assign_materials(self, spec: SceneSpec) -> None:
        """Give what was put up its materials, flaws included."""
        for thing, wanted in zip(self._things, spec.objects, strict=True):
            self._materials.assign_material(thing, wanted.material, wanted.defects)

    def _add(self, spec: ObjectSpec) -> bpy.types.Object:
        thing = bpy.data.objects.new(spec.name, self.meshes.get(spec.mesh))
        rows = np.reshape(spec.pose, (3, 4)).tolist()
        thing.matrix_world = mathutils.Matrix([*rows, [0.0, 0.0, 0.0, 1.0]])
        thing.pass_index = spec.index
        thing.is_shadow_catcher = spec.shadow_catcher
        thing["scale_m"] = scale_of(spec.pose)
        self.scene.collection.objects.link(thing)
        return thing
