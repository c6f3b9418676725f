"""Builds a Blender scene from a SceneSpec."""

from __future__ import annotations

import bpy
import mathutils
import numpy as np

from render.core.spec import ObjectSpec, SceneSpec
from render.geometry.transforms import scale_of
from render.worker.appearance import MaterialCache
from render.worker.lighting import Skies
from render.worker.meshes import BlenderMeshes


class SceneBuilder:
    """Builds the scene of every spec in the one Blender scene of a worker.

    Meshes, materials and skies are kept from scene to scene.
    """

    def __init__(self) -> None:
        """Remove Blender's default scene."""
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self.meshes = BlenderMeshes()
        self._materials = MaterialCache()
        self._skies = Skies()
        self._objects: list[bpy.types.Object] = []

    def build(self, spec: SceneSpec) -> None:
        """Empty the scene; add the objects and lights of a spec, without materials and without a camera."""
        for obj in list(bpy.data.objects):
            bpy.data.objects.remove(obj)
        self.meshes.end_scene()
        bpy.data.orphans_purge()
        self._objects = [self._add(object_spec) for object_spec in spec.objects]
        self._skies.light(self.scene, spec.light)

    def assign_materials(self, spec: SceneSpec) -> None:
        """Assign to every object its material, which includes its flaws."""
        for obj, object_spec in zip(self._objects, spec.objects, strict=True):
            self._materials.assign_material(obj, object_spec.material, object_spec.defects)

    def _add(self, spec: ObjectSpec) -> bpy.types.Object:
        obj = bpy.data.objects.new(spec.name, self.meshes.get(spec.mesh))
        rows = np.reshape(spec.pose, (3, 4)).tolist()
        obj.matrix_world = mathutils.Matrix([*rows, [0.0, 0.0, 0.0, 1.0]])
        obj.pass_index = spec.index
        obj.is_shadow_catcher = spec.shadow_catcher
        obj["scale_m"] = scale_of(spec.pose)
        self.scene.collection.objects.link(obj)
        return obj
