"""Assigns Blender materials. Values that differ between objects are custom properties of the objects."""

from __future__ import annotations

from collections.abc import Sequence

import bpy

from render.core.spec import DefectSpec, MaterialSpec
from render.worker.defects.defects import apply
from render.worker.materials.inputs import MaterialInputs, shift
from render.worker.materials.material_families import MATERIAL_FAMILIES, build, options, with_defaults
from render.worker.materials.nodes import Nodes, finish

__all__ = ["MATERIAL_FAMILIES", "MaterialCache"]

#: Shared materials kept; a material holds its images in memory.
_KEPT = 48


class MaterialCache:
    """Shares one material between objects with equal shader trees; an object with defects has its own."""

    def __init__(self) -> None:
        """Start empty."""
        self._materials: dict[tuple[object, ...], bpy.types.Material] = {}

    def assign_material(
        self, obj: bpy.types.Object, spec: MaterialSpec, defects: Sequence[DefectSpec] = ()
    ) -> None:
        """Assign a material to an object.

        The object's custom property "scale_m" is the length of the object's unit in metres. If it is missing,
        the object's scale is taken.
        """
        spec = with_defaults(spec)
        if "scale_m" not in obj:
            obj["scale_m"] = float(obj.scale.x)
        obj["shift"] = shift(spec.seed)
        for name, value in (*spec.colours.items(), *spec.numbers.items()):
            obj[name] = value
        if not obj.material_slots:
            obj.data.materials.append(None)
        slot = obj.material_slots[0]
        slot.link = "OBJECT"
        uv = bool(obj.data.uv_layers)
        # A material with flaws has no fake user, so the purge before the next scene removes it.
        slot.material = _compile(spec, uv, defects) if defects else self._shared(spec, uv)

    def _shared(self, spec: MaterialSpec, uv: bool) -> bpy.types.Material:
        images = tuple(sorted(spec.images.items()))
        key = (spec.kind, options(spec), images, bool(images) and uv)
        if key in self._materials:
            self._materials[key] = self._materials.pop(key)
            return self._materials[key]
        # Remove the least recently used materials that no object of the scene uses.
        idle = [old for old, material in self._materials.items() if material.users <= 1]
        for old in idle[: max(0, len(self._materials) + 1 - _KEPT)]:
            bpy.data.materials.remove(self._materials.pop(old))
        self._materials[key] = _compile(spec, uv)
        self._materials[key].use_fake_user = True
        return self._materials[key]


def _compile(spec: MaterialSpec, uv: bool, defects: Sequence[DefectSpec] = ()) -> bpy.types.Material:
    material = bpy.data.materials.new(spec.kind)
    material.use_nodes = True
    nodes = Nodes(material.node_tree)
    surface = apply(nodes, build(MaterialInputs(nodes, spec, shared=True, uv=uv)), defects)
    finish(nodes, surface)
    if surface.displacement is not None:
        material.displacement_method = "DISPLACEMENT"
    return material
