"""Meshes of the scene as arrays in double precision: centred if far from the origin, welded, triangulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bmesh
import bpy
import numpy as np
from numpy.typing import NDArray

from render.worker.importing.plain import FloatArray, finite, float32_step, is_far, middle, steps_of

#: Corners closer than this share of the object's longest side are one; thinner faces are none.
SAME = 1e-6


@dataclass(frozen=True, eq=False)
class Body:
    """A mesh in its object's frame. made: a bmesh.  places: (n, 3) float64 of the corners that faces use.

    matrix: Blender's own (4, 4), and to_scene the same numbers in double.
    """

    name: str
    made: Any
    places: FloatArray
    matrix: Any

    @property
    def to_scene(self) -> FloatArray:
        """(4, 4) from the object's frame to the scene's."""
        return np.array(self.matrix, np.float64)

    def in_scene(self) -> FloatArray:
        """Its places in the scene, in double."""
        return np.asarray(self.places @ self.to_scene[:3, :3].T + self.to_scene[:3, 3])


def bodies() -> list[Body]:
    """Whatever would be rendered, instances included; raises RefusedError for a corner that is no number."""
    all_bodies = []
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        thing = instance.object
        if thing.type not in ("MESH", "CURVE", "SURFACE", "META", "FONT"):
            continue
        mesh = thing.to_mesh()
        if mesh is not None and len(mesh.polygons):
            geometry = bmesh.new()
            geometry.from_mesh(mesh)
            all_bodies.append(
                Body(thing.name, geometry, _places(thing.name, mesh), instance.matrix_world.copy())
            )
        thing.to_mesh_clear()
    return all_bodies


def settled(all_bodies: list[Body]) -> tuple[bool, tuple[str, ...]]:
    """Bring bodies into the scene's frame, moved to the origin if they are far from it; whether, and remarks.

    Raises RefusedError where their numbers have lost the shape.
    """
    if not all_bodies:
        return False, ()
    everywhere = np.concatenate([body.in_scene() for body in all_bodies])
    finite(everywhere, lambda i: f"at corner {i + 1}, from the matrices of its objects")
    if not is_far(everywhere):
        for body in all_bodies:
            body.made.transform(body.matrix)
        return False, ()
    remarks = _steps(all_bodies, everywhere)
    offset = middle(everywhere)
    for body in all_bodies:
        turn, shift = body.to_scene[:3, :3], body.to_scene[:3, 3] - offset
        for corner in body.made.verts:
            corner.co = turn @ np.array(corner.co, np.float64) + shift
    return True, remarks


def _steps(all_bodies: list[Body], everywhere: FloatArray) -> tuple[str, ...]:
    """Remarks on the precision of the bodies' coordinates and positions; Blender stores both in float32.

    A single body's shift says nothing about its shape. Of several bodies, equal shifts may have been
    different.
    """
    step = max(float32_step(body.places) * _stretch(body) for body in all_bodies)
    remarks = steps_of(everywhere, step)
    if len(all_bodies) == 1:
        return remarks
    apart = float32_step(np.array([body.to_scene[:3, 3] for body in all_bodies]))
    return remarks + steps_of(everywhere, apart, what=f"{len(all_bodies)} objects whose places come")


def _stretch(body: Body) -> float:
    return float(np.linalg.norm(body.to_scene[:3, :3], axis=0).max())


def _places(name: str, mesh: Any) -> FloatArray:
    """(n, 3) corners that faces use; raises RefusedError for non-finite coordinates, also of textures."""
    places = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", places)
    corners = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    held = places.reshape(-1, 3).astype(np.float64)
    finite(held, lambda i: f"at vertex {i + 1} of {name!r}")
    if mesh.uv_layers.active is not None:
        uv = np.empty(2 * len(corners), np.float32)
        mesh.uv_layers.active.uv.foreach_get("vector", uv)
        finite(
            uv.reshape(-1, 2).astype(np.float64), lambda i: f"at vertex {corners[i] + 1} of {name!r}",
            "two finite texture coordinates",
        )  # fmt: skip
    return np.asarray(held[np.unique(corners)])


def cleaned(pieces: list[Any]) -> dict[str, NDArray[Any]]:
    """Vertices, triangles and uv of an object's pieces: welded, outward, without loose or flat faces."""
    geometry = bmesh.new()
    for piece in pieces:
        mesh = bpy.data.meshes.new("piece")
        piece.to_mesh(mesh)
        piece.free()
        geometry.from_mesh(mesh)
        bpy.data.meshes.remove(mesh)
    places = np.array([corner.co for corner in geometry.verts])
    same = SAME * float(np.ptp(places, axis=0).max())
    bmesh.ops.remove_doubles(geometry, verts=geometry.verts, dist=same)
    bmesh.ops.dissolve_degenerate(geometry, edges=geometry.edges, dist=same)
    bmesh.ops.triangulate(geometry, faces=geometry.faces)
    bmesh.ops.dissolve_degenerate(geometry, edges=geometry.edges, dist=same)
    bmesh.ops.triangulate(geometry, faces=geometry.faces)
    flat = [face for face in geometry.faces if face.calc_area() <= same * same]
    bmesh.ops.delete(geometry, geom=flat, context="FACES_ONLY")
    bmesh.ops.delete(geometry, geom=[e for e in geometry.edges if not e.link_faces], context="EDGES")
    bmesh.ops.delete(geometry, geom=[v for v in geometry.verts if not v.link_faces], context="VERTS")
    bmesh.ops.recalc_face_normals(geometry, faces=geometry.faces)
    mesh = bpy.data.meshes.new("clean")
    geometry.to_mesh(mesh)
    geometry.free()
    arrays = _arrays(mesh)
    bpy.data.meshes.remove(mesh)
    return arrays


def _arrays(mesh: Any) -> dict[str, NDArray[Any]]:
    vertices = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", vertices)
    corners = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    arrays: dict[str, NDArray[Any]] = {
        "vertices": vertices.reshape(-1, 3).astype(np.float64),
        "triangles": corners.reshape(-1, 3),
    }
    layer = mesh.uv_layers.active
    if layer is not None:
        uv = np.empty(2 * len(corners), np.float32)
        layer.uv.foreach_get("vector", uv)
        arrays["uv"] = uv.reshape(-1, 2)
    return arrays
