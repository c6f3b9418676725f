"""Dice as Blender meshes, one per mould, kept for the life of the worker."""

from __future__ import annotations

import bpy
import mathutils
import numpy as np

from render.die import surface
from render.spec import DieSpec
from render.worker.materials import MaterialShelf

#: Cells per face: below half a pixel for dice up to 30 px wide.
CELLS = 56


class DiceShelf:
    """Meshes by mould; `stand` puts a die into the scene."""

    def __init__(self, materials: MaterialShelf) -> None:
        """Start without moulds."""
        self._materials = materials
        self._meshes: dict[tuple[float, ...], bpy.types.Mesh] = {}

    def stand(self, scene: bpy.types.Scene, die: DieSpec, number: int) -> None:
        """Add one die; `number` is its value in the object-index pass."""
        thing = bpy.data.objects.new(f"die {number:03d}", self._mesh(die.shape))
        turn = mathutils.Matrix([die.rotation[0:3], die.rotation[3:6], die.rotation[6:9]]).to_4x4()
        thing.matrix_world = (
            mathutils.Matrix.Translation(die.location) @ turn @ mathutils.Matrix.Scale(die.edge_m, 4)
        )
        thing.pass_index = number
        for name in ("body", "second", "pip_colour"):
            thing[name] = {"body": die.body, "second": die.second, "pip_colour": die.pip}[name]
        thing["marble"], thing["marble_seed"] = die.marble, die.marble_seed
        thing["translucency"], thing["roughness"] = die.translucency, die.roughness
        scene.collection.objects.link(thing)

    def _mesh(self, shape: tuple[float, float, float, float]) -> bpy.types.Mesh:
        if shape not in self._meshes:
            made = surface(*shape, CELLS)
            mesh = bpy.data.meshes.new(f"mould {len(self._meshes)}")
            mesh.from_pydata(made.vertices.tolist(), [], made.quads.tolist())
            mesh.attributes.new("pip", "FLOAT", "POINT").data.foreach_set(
                "value", made.pip.astype(np.float32)
            )
            mesh.shade_smooth()
            mesh.materials.append(self._materials.die())
            mesh.use_fake_user = True
            self._meshes[shape] = mesh
        return self._meshes[shape]
