"""Surfaces as Blender meshes, kept for the life of the worker."""

from __future__ import annotations

import math

import bpy
import msgspec
import numpy as np

from render.assets.bodies import surface_of
from render.core.spec import MeshSpec
from render.shapes.kernels.refine import refined
from render.shapes.kernels.surface import Surface
from render.worker.glyphs import glyph

#: Edges between faces that turn by more than this are edges, not tessellation.
_SHARP_RAD = math.radians(28)
#: Meshes kept from scene to scene; a recipe with more forms than this builds some of them again.
_KEPT = 256


class BlenderMeshes:
    """Meshes by MeshSpec; the least recently used go first, those refined around flaws with their scene."""

    def __init__(self) -> None:
        """Start empty."""
        self._made: dict[bytes, tuple[bpy.types.Mesh, Surface]] = {}
        self._passing: dict[bytes, tuple[bpy.types.Mesh, Surface]] = {}

    def end_scene(self) -> None:
        """Free what only the last scene needs, and the oldest beyond _KEPT. Its objects must be gone."""
        spare = [self._made.pop(key) for key in list(self._made)[: max(0, len(self._made) - _KEPT)]]
        for mesh, _ in (*self._passing.values(), *spare):
            bpy.data.meshes.remove(mesh)
        self._passing.clear()

    def get(self, spec: MeshSpec) -> bpy.types.Mesh:
        """The mesh a spec names."""
        return self._entry(spec)[0]

    def surface(self, spec: MeshSpec) -> Surface:
        """The surface a spec names, glyphs included; what labels measure outlines on."""
        return self._entry(spec)[1]

    def _entry(self, spec: MeshSpec) -> tuple[bpy.types.Mesh, Surface]:
        meshes = self._passing if spec.detail_at else self._made
        key = msgspec.json.encode(spec, order="sorted")
        if key in meshes:
            meshes[key] = meshes.pop(key)
            return meshes[key]
        surface = glyph(spec) if spec.shape == "glyph" else surface_of(spec)
        if spec.detail_m > 0:
            surface = refined(surface, spec.detail_m, spec.detail_at)
        meshes[key] = (to_mesh(surface, "mesh"), surface)
        return meshes[key]


def to_mesh(surface: Surface, name: str) -> bpy.types.Mesh:
    """A Blender mesh with one empty material slot, the attribute "accent", and a uv map if there is one."""
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(surface.vertices))
    mesh.vertices.foreach_set("co", surface.vertices.astype(np.float32).ravel())
    mesh.loops.add(len(surface.corners))
    mesh.loops.foreach_set("vertex_index", surface.corners.astype(np.int32))
    mesh.polygons.add(len(surface.sizes))
    starts = np.cumsum(surface.sizes) - surface.sizes
    mesh.polygons.foreach_set("loop_start", starts.astype(np.int32))
    mesh.polygons.foreach_set("loop_total", surface.sizes.astype(np.int32))
    if surface.accent is not None:
        layer = mesh.attributes.new("accent", "FLOAT", "POINT")
        layer.data.foreach_set("value", surface.accent.astype(np.float32))
    if surface.uv is not None:
        mesh.uv_layers.new(name="uv").data.foreach_set("uv", surface.uv.astype(np.float32).ravel())
    mesh.update(calc_edges=True)
    if surface.smooth:
        mesh.shade_smooth()
        mesh.set_sharp_from_angle(angle=_SHARP_RAD)
    mesh.materials.append(None)
    mesh.use_fake_user = True
    return mesh
