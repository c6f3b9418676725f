"""Blender meshes of surfaces, kept from scene to scene."""

from __future__ import annotations

import math

import bpy
import msgspec
import numpy as np

from render.assets.bodies import surface_of
from render.core.spec import MeshSpec
from render.shapes.kernels.refine import refine_surface
from render.shapes.kernels.surface import Surface
from render.worker.glyphs import glyph

#: Faces at a larger angle than this meet in a sharp edge; at a smaller one they approximate a round surface.
_SHARP_RAD = math.radians(28)
#: Meshes kept from scene to scene. A recipe with more forms than this builds some meshes repeatedly.
_KEPT = 256


class BlenderMeshes:
    """Cache of meshes by MeshSpec.

    The least recently used meshes are removed first. A mesh refined around flaws is removed with its scene.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._kept: dict[bytes, tuple[bpy.types.Mesh, Surface]] = {}
        self._scene_only: dict[bytes, tuple[bpy.types.Mesh, Surface]] = {}

    def end_scene(self) -> None:
        """Remove the meshes of the last scene alone, and the least recently used ones beyond _KEPT.

        The objects of the scene must have been removed.
        """
        surplus = [self._kept.pop(key) for key in list(self._kept)[: max(0, len(self._kept) - _KEPT)]]
        for mesh, _ in (*self._scene_only.values(), *surplus):
            bpy.data.meshes.remove(mesh)
        self._scene_only.clear()

    def get(self, spec: MeshSpec) -> bpy.types.Mesh:
        """Return the Blender mesh of a spec."""
        return self._entry(spec)[0]

    def surface(self, spec: MeshSpec) -> Surface:
        """Return the surface of a spec, which may be a glyph. Labels measure silhouettes on it."""
        return self._entry(spec)[1]

    def _entry(self, spec: MeshSpec) -> tuple[bpy.types.Mesh, Surface]:
        meshes = self._scene_only if spec.detail_at else self._kept
        key = msgspec.json.encode(spec, order="sorted")
        if key in meshes:
            meshes[key] = meshes.pop(key)
            return meshes[key]
        surface = glyph(spec) if spec.shape == "glyph" else surface_of(spec)
        if spec.detail_m > 0:
            surface = refine_surface(surface, spec.detail_m, spec.detail_at)
        meshes[key] = (to_mesh(surface, "mesh"), surface)
        return meshes[key]


def to_mesh(surface: Surface, name: str) -> bpy.types.Mesh:
    """Return a Blender mesh with one empty material slot, and with accent and uv if the surface has them."""
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
