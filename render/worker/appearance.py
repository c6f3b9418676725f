"""Blender materials, compiled once; values that differ between objects are custom properties."""

from __future__ import annotations

from collections.abc import Sequence

import bpy

from render.core.spec import DefectSpec, MaterialSpec
from render.worker.defects.defects import apply
from render.worker.materials.inputs import MaterialInputs, shift
from render.worker.materials.material_families import MATERIAL_FAMILIES, build, completed, options
from render.worker.materials.nodes import Nodes, finish

__all__ = ["MATERIAL_FAMILIES", "MaterialCache"]

#: Shared materials kept; those with pictures hold them in memory.
_KEPT = 48


class MaterialCache:
    """One material for all objects with equal trees; an object with defects has its own."""

    def __init__(self) -> None:
        """Start empty."""
        self._made: dict[tuple[object, ...], bpy.types.Material] = {}

    def assign_material(
        self, thing: bpy.types.Object, spec: MaterialSpec, defects: Sequence[DefectSpec] = ()
    ) -> None:
        """Assign a material to an object.

        The object's custom property "scale_m" is the length of its own unit in metres; default: its scale.
        """
        spec = completed(spec)
        if "scale_m" not in thing:
            thing["scale_m"] = float(thing.scale.x)
        thing["shift"] = shift(spec.seed)
        for name, value in (*spec.colours.items(), *spec.numbers.items()):
            thing[name] = value
        if not thing.material_slots:
            thing.data.materials.append(None)
        slot = thing.material_slots[0]
        slot.link = "OBJECT"
        uv = bool(thing.data.uv_layers)
        # Without fake user, a flawed material goes with the next scene's purge.
        slot.material = _compile(spec, uv, defects) if defects else self._shared(spec, uv)

    def _shared(self, spec: MaterialSpec, uv: bool) -> bpy.types.Material:
        pictures = tuple(sorted(spec.images.items()))
        key = (spec.kind, options(spec), pictures, bool(pictures) and uv)
        if key in self._made:
            self._made[key] = self._made.pop(key)
            return self._made[key]
        # Let go of the least recently used that nothing in the scene wears.
        idle = [old for old, material in self._made.items() if material.users <= 1]
        for old in idle[: max(0, len(self._made) + 1 - _KEPT)]:
            bpy.data.materials.remove(self._made.pop(old))
        self._made[key] = _compile(spec, uv)
        self._made[key].use_fake_user = True
        return self._made[key]


def _compile(spec: MaterialSpec, uv: bool, defects: Sequence[DefectSpec] = ()) -> bpy.types.Material:
    material = bpy.data.materials.new(spec.kind)
    material.use_nodes = True
    nodes = Nodes(material.node_tree)
    surface = apply(nodes, build(MaterialInputs(nodes, spec, shared=True, uv=uv)), defects)
    finish(nodes, surface)
    if surface.displacement is not None:
        material.displacement_method = "DISPLACEMENT"
    return material
