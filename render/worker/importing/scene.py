"""Reads the meshes of Blender's scene as surfaces, and cleans surfaces with Blender."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import bmesh
import bpy
import numpy as np

from render.shapes.kernels.surface import IntArray, Surface
from render.worker.importing.bodies import Body, MeshFile, compact_surface
from render.worker.importing.checks import FloatArray, float32_step, require_finite
from render.worker.importing.references import Reference
from render.worker.meshes import to_mesh

#: Vertices closer than this share of the longest side are merged; faces thinner than this are removed.
WELD_SHARE = 1e-6


def read_scene(turn: FloatArray, references: tuple[Reference, ...], stated: tuple[float, str]) -> MeshFile:
    """Return all objects that would be rendered, including instances.

    turn: (3, 3) rotation from Blender's axes to the file's.

    Raises RefusedError for non-finite coordinates.
    """
    to_file = np.eye(4)
    to_file[:3, :3] = turn
    bodies = []
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        obj = instance.object
        if obj.type not in ("MESH", "CURVE", "SURFACE", "META", "FONT"):
            continue
        mesh = obj.to_mesh()
        if mesh is not None and len(mesh.polygons):
            matrix = to_file @ np.array(instance.matrix_world, np.float64)
            bodies.append(Body(obj.name, _checked_surface(obj.name, mesh), matrix))
        obj.to_mesh_clear()
    return MeshFile(bodies, lambda: max(map(_step, bodies)), references=references, stated=stated)


def _step(body: Body) -> float:
    scale = float(np.linalg.norm(body.matrix[:3, :3], axis=0).max())
    return float32_step(body.surface.vertices) * scale


def _checked_surface(name: str, mesh: Any) -> Surface:
    vertices, corners, uv = _arrays(mesh)
    require_finite(vertices, lambda i: f"at vertex {i + 1} of {name!r}")
    if uv is not None:
        require_finite(
            uv, lambda i: f"at vertex {corners[i] + 1} of {name!r}", "two finite texture coordinates"
        )
    sizes = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("loop_total", sizes)
    return compact_surface(vertices, corners, sizes.astype(np.int64), uv)


def clean_surface(surface: Surface) -> Surface:
    """Return the triangles of a surface: welded, facing outward, without degenerate faces."""
    mesh = to_mesh(replace(surface, smooth=False), "raw")
    geometry = bmesh.new()
    geometry.from_mesh(mesh)
    weld_distance = WELD_SHARE * float(np.ptp(surface.vertices, axis=0).max())
    bmesh.ops.triangulate(geometry, faces=geometry.faces)
    bmesh.ops.remove_doubles(geometry, verts=geometry.verts, dist=weld_distance)
    bmesh.ops.dissolve_degenerate(geometry, edges=geometry.edges, dist=weld_distance)
    bmesh.ops.triangulate(geometry, faces=geometry.faces)
    flat = [face for face in geometry.faces if face.calc_area() <= weld_distance * weld_distance]
    bmesh.ops.delete(geometry, geom=flat, context="FACES_ONLY")
    bmesh.ops.delete(geometry, geom=[e for e in geometry.edges if not e.link_faces], context="EDGES")
    bmesh.ops.delete(geometry, geom=[v for v in geometry.verts if not v.link_faces], context="VERTS")
    bmesh.ops.recalc_face_normals(geometry, faces=geometry.faces)
    geometry.to_mesh(mesh)
    geometry.free()
    vertices, corners, uv = _arrays(mesh)
    bpy.data.meshes.remove(mesh)
    return Surface(vertices, corners, np.full(len(corners) // 3, 3), uv=uv)


def _arrays(mesh: Any) -> tuple[FloatArray, IntArray, FloatArray | None]:
    """Return vertices (n, 3), the vertex of each corner (k,), and its texture coordinates (k, 2)."""
    vertices = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", vertices)
    corners = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    layer = mesh.uv_layers.active
    uv = np.empty(2 * len(corners) if layer is not None else 0, np.float32)
    if layer is not None:
        layer.uv.foreach_get("vector", uv)
    return (
        vertices.reshape(-1, 3).astype(np.float64),
        corners.astype(np.int64),
        None if layer is None else uv.reshape(-1, 2).astype(np.float64),
    )
