"""Reads a mesh file of any supported format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np

from render.worker.importing.bodies import MeshFile
from render.worker.importing.gltf import gltf_files
from render.worker.importing.obj import read_obj
from render.worker.importing.ply import read_ply
from render.worker.importing.references import fbx_files, pxr_path, usd_files
from render.worker.importing.scene import read_scene
from render.worker.importing.stl import read_stl

#: y is up in all glTF files and in many USD files. Blender rotates those by +90° about x; this undoes it.
_Z_UP_TO_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def open_file(path: Path) -> MeshFile:
    """Read a mesh file; Blender's scene must be empty. Raises RefusedError, or the error of an importer."""
    match path.suffix.lower():
        case ".obj":
            return read_obj(path)
        case ".stl":
            return read_stl(path)
        case ".ply":
            return read_ply(path)
        case ".glb" | ".gltf":
            references = gltf_files(path)
            bpy.ops.import_scene.gltf(filepath=str(path))
            return read_scene(_Z_UP_TO_Y_UP, references, (1.0, "y"))
        case ".fbx":
            return _open_fbx(path)
        case _:
            return _open_usd(path)


def _open_fbx(path: Path) -> MeshFile:
    from io_scene_fbx import parse_fbx

    with path.open("rb") as file:
        if not file.read(20).startswith(b"Kaydara FBX Binary"):
            raise ValueError("not a binary FBX file; Blender reads binary FBX only")
    root, _ = parse_fbx.parse(str(path))
    references, (unit_m, up) = fbx_files(path, root), _fbx_settings(root)
    # With these axes and this scale the importer leaves coordinates as they are.
    bpy.ops.import_scene.fbx(
        filepath=str(path), use_manual_orientation=True, axis_forward="Y", axis_up="Z",
        global_scale=1 / unit_m, use_anim=False, use_image_search=False,
    )  # fmt: skip
    return read_scene(np.eye(3), references, (unit_m, up))


def _fbx_settings(root: Any) -> tuple[float, str]:
    """Return the unit in metres and the up axis of an FBX file; defaults are centimetres and y."""
    values: dict[bytes, Any] = {}
    for table in (e for top in root.elems if top.id == b"GlobalSettings" for e in top.elems):
        if table.id == b"Properties70":
            values |= {entry.props[0]: entry.props[-1] for entry in table.elems}
    sign = "-" if values.get(b"UpAxisSign", 1) < 0 else ""
    return float(values.get(b"UnitScaleFactor", 1.0)) / 100, sign + "xyz"[values.get(b"UpAxis", 1)]


def _open_usd(path: Path) -> MeshFile:
    pxr_path()
    from pxr import Tf, Usd, UsdGeom

    references = usd_files(path)
    try:
        stage = Usd.Stage.Open(str(path))
    except Tf.ErrorException as error:
        raise ValueError("not a USD stage that can be opened") from error
    up = str(UsdGeom.GetStageUpAxis(stage)).lower()
    stated = (float(UsdGeom.GetStageMetersPerUnit(stage)), up)
    bpy.ops.wm.usd_import(
        filepath=str(path), apply_unit_conversion_scale=False, import_cameras=False, import_lights=False,
        import_materials=False, set_frame_range=False, create_world_material=False,
    )  # fmt: skip
    return read_scene(_Z_UP_TO_Y_UP if up == "y" else np.eye(3), references, stated)
