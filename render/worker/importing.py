"""Reads mesh files with Blender, in a process of its own that ends with its last file.

A line of JSON in: {"path": mesh file, "out": file to write, "drop": whether to see how it comes to lie}; a line out:
{"objects": [names], "declared": what the file says of itself}, or {"broken": reason}, or {"missing": reason} when there
is no bpy. The arrays are "<number of the object>.vertices" (n, 3), ".triangles" (m, 3) and, where it has one, ".uv"
(3 m, 2), in the file's own numbers and axes: what Blender's importers turn and scale is undone. "landed" (d, 3) is how
all objects together, as one convex solid, came to lie when they were dropped; a flat body is not dropped.
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.poses import centre_of_mass, outermost
from render.worker import leave

#: Corners closer than this share of the object's longest side are one; thinner faces are none.
_SAME = 1e-6
#: Corners of the body that is dropped: more take longer and change nothing.
_CORNERS = 128
#: y is up in every glTF file, and in many USD ones; Blender turns them by +90 degrees about x.
_UNTURN = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def main() -> None:
    """Read files until stdin ends."""
    # Blender and its importers print to fd 1: that joins stderr, and the answers get a stream of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(_answer(request["path"], request["out"], request["drop"])) + "\n")
        answers.flush()


def _answer(path: str, out: str, drop: bool) -> dict[str, Any]:
    try:
        import bpy  # noqa: F401  # its absence is reported, not a crash
    except ImportError as error:
        return {"missing": str(error)}
    try:
        return _read(path, out, drop)
    except Exception as error:
        # A file can break an importer in any way; the next one gets its chance.
        return {"broken": _reason(error, path)}


def _read(path: str, out: str, drop: bool) -> dict[str, Any]:
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    turn, declared = _import(Path(path))
    objects: dict[str, list[Any]] = {}
    for name, mesh in _meshes():
        objects.setdefault(name, []).append(mesh)
    arrays: dict[str, NDArray[Any]] = {}
    kept: list[str] = []
    for name, pieces in objects.items():
        made = _cleaned(pieces)
        if len(made["triangles"]):
            made["vertices"] = made["vertices"] @ turn.T
            arrays |= {f"{len(kept)}.{key}": array for key, array in made.items()}
            kept.append(name)
    if kept and drop:
        arrays |= _dropped([(arrays[f"{i}.vertices"], arrays[f"{i}.triangles"]) for i in range(len(kept))])
    with open(out, "wb") as file:
        np.savez(file, **arrays)
    return {"objects": kept, "declared": declared}


def _dropped(pieces: list[tuple[NDArray[np.float64], NDArray[np.int64]]]) -> dict[str, NDArray[Any]]:
    """How the pieces, held together, come to lie; nothing for those that span no volume, or without rigid bodies."""
    import bpy

    from render.worker.dropping import landed

    if not bpy.app.build_options.bullet:  # a Blender of one's own need not have them
        return {}
    vertices = np.concatenate([vertices for vertices, _ in pieces])
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in pieces[:-1])])
    triangles = np.concatenate([faces + start for (_, faces), start in zip(pieces, starts, strict=True)])
    corners = outermost(np.unique(vertices, axis=0), _CORNERS)
    if np.linalg.matrix_rank(corners - corners.mean(axis=0), tol=_SAME * float(np.ptp(corners))) < 3:
        return {}
    centre = centre_of_mass(vertices, triangles)
    if centre is None:  # an open surface: as if it were solid and convex
        centre = centre_of_mass(corners, _hull(corners))
    return {} if centre is None else {"landed": landed(corners, centre)}


def _hull(corners: NDArray[np.float64]) -> NDArray[np.int64]:
    """Triangles (m, 3), looking outward, of the convex hull of points."""
    import bmesh

    made = bmesh.new()
    for corner in corners:
        made.verts.new(corner)
    made.verts.index_update()
    bmesh.ops.convex_hull(made, input=made.verts)
    bmesh.ops.triangulate(made, faces=made.faces)
    bmesh.ops.recalc_face_normals(made, faces=made.faces)
    triangles = np.array([[corner.index for corner in face.verts] for face in made.faces])
    made.free()
    return triangles


def _import(path: Path) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Import a file into the empty scene; the matrix back to its own axes, and its stated unit (m) and up axis."""
    import bpy

    name, suffix, same = str(path), path.suffix.lower(), np.eye(3)
    plain = {"filepath": name, "forward_axis": "Y", "up_axis": "Z"}
    if suffix == ".obj":
        bpy.ops.wm.obj_import(**plain, use_split_objects=True)
    elif suffix == ".stl":
        bpy.ops.wm.stl_import(**plain)
    elif suffix == ".ply":
        bpy.ops.wm.ply_import(**plain)
    elif suffix in (".glb", ".gltf"):
        bpy.ops.import_scene.gltf(filepath=name)
        return _UNTURN, {"unit_m": 1.0, "up": "y"}
    elif suffix == ".fbx":
        declared = _fbx_settings(name)
        # With these axes and this scale the importer changes nothing.
        bpy.ops.import_scene.fbx(
            filepath=name, use_manual_orientation=True, axis_forward="Y", axis_up="Z",
            global_scale=1 / declared["unit_m"], use_anim=False, use_image_search=False,
        )  # fmt: skip
        return same, declared
    else:
        declared = _usd_settings(name)
        bpy.ops.wm.usd_import(
            filepath=name, apply_unit_conversion_scale=False, import_cameras=False, import_lights=False,
            import_materials=False, set_frame_range=False, create_world_material=False,
        )  # fmt: skip
        return (_UNTURN if declared["up"] == "y" else same), declared
    return same, {}


def _fbx_settings(name: str) -> dict[str, Any]:
    """The unit in metres and the up axis that an FBX file states; centimetres and y if it does not."""
    from io_scene_fbx import parse_fbx

    with open(name, "rb") as file:
        if not file.read(20).startswith(b"Kaydara FBX Binary"):
            raise ValueError("no binary FBX file, and Blender reads no other")
    values: dict[bytes, Any] = {}
    root, _ = parse_fbx.parse(name)
    for table in (e for top in root.elems if top.id == b"GlobalSettings" for e in top.elems):
        if table.id == b"Properties70":
            values |= {entry.props[0]: entry.props[-1] for entry in table.elems}
    sign = "-" if values.get(b"UpAxisSign", 1) < 0 else ""
    return {
        "unit_m": float(values.get(b"UnitScaleFactor", 1.0)) / 100,
        "up": sign + "xyz"[values.get(b"UpAxis", 1)],
    }


def _usd_settings(name: str) -> dict[str, Any]:
    """The unit in metres and the up axis of a USD stage."""
    import bpy

    # The wheel's own packages go last, so that they shadow nothing.
    folder = next(Path(bpy.utils.resource_path("LOCAL")).glob("python/lib/python*/site-packages"))
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    from pxr import Tf, Usd, UsdGeom

    try:
        stage = Usd.Stage.Open(name)
    except Tf.ErrorException as error:
        raise ValueError("no USD stage that can be opened") from error
    return {
        "unit_m": float(UsdGeom.GetStageMetersPerUnit(stage)),
        "up": str(UsdGeom.GetStageUpAxis(stage)).lower(),
    }


def _meshes() -> Iterator[tuple[str, Any]]:
    """Name and mesh (a bmesh, in the scene's frame) of whatever would be rendered, instances included."""
    import bmesh
    import bpy

    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        thing = instance.object
        if thing.type not in ("MESH", "CURVE", "SURFACE", "META", "FONT"):
            continue
        mesh = thing.to_mesh()
        if mesh is not None and len(mesh.polygons):
            made = bmesh.new()
            made.from_mesh(mesh)
            made.transform(instance.matrix_world)
            yield thing.name, made
        thing.to_mesh_clear()


def _cleaned(pieces: list[Any]) -> dict[str, NDArray[Any]]:
    """Vertices, triangles and uv of an object's pieces, welded, without loose or flat bits, looking outward."""
    import bmesh
    import bpy

    made = bmesh.new()
    for piece in pieces:
        mesh = bpy.data.meshes.new("piece")
        piece.to_mesh(mesh)
        piece.free()
        made.from_mesh(mesh)
        bpy.data.meshes.remove(mesh)
    places = np.array([corner.co for corner in made.verts])
    longest = float(np.ptp(places, axis=0).max())
    if not np.isfinite(longest):
        raise ValueError("a corner's place is no number")
    same = _SAME * longest
    bmesh.ops.remove_doubles(made, verts=made.verts, dist=same)
    bmesh.ops.dissolve_degenerate(made, edges=made.edges, dist=same)
    bmesh.ops.triangulate(made, faces=made.faces)
    bmesh.ops.dissolve_degenerate(made, edges=made.edges, dist=same)
    bmesh.ops.triangulate(made, faces=made.faces)
    flat = [face for face in made.faces if face.calc_area() <= same * same]
    bmesh.ops.delete(made, geom=flat, context="FACES_ONLY")
    bmesh.ops.delete(made, geom=[e for e in made.edges if not e.link_faces], context="EDGES")
    bmesh.ops.delete(made, geom=[v for v in made.verts if not v.link_faces], context="VERTS")
    bmesh.ops.recalc_face_normals(made, faces=made.faces)
    mesh = bpy.data.meshes.new("clean")
    made.to_mesh(mesh)
    made.free()
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


def _reason(error: Exception, path: str) -> str:
    """What an importer says, on one line, without the path that the caller names anyway."""
    said = re.sub(r"^Error: ", "", str(error).strip()) or type(error).__name__
    return textwrap.shorten(said.replace(path, Path(path).name), 300)


if __name__ == "__main__":
    main()
    leave()
