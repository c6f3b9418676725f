"""Open a mesh file in Blender's empty scene: checked, moved to the origin, with its companions."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from render.worker.importing.gltf import gltf_files
from render.worker.importing.obj import read_obj
from render.worker.importing.plain import Plain
from render.worker.importing.ply import read_ply
from render.worker.importing.referred import Referred, fbx_files, pictures_of, pxr_path, usd_files
from render.worker.importing.stl import read_stl

#: y is up in every glTF file, and in many USD ones; Blender turns them by +90 degrees about x.
_UNTURN = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
_PLAIN = {
    ".obj": (read_obj, lambda path: bpy.ops.wm.obj_import(**_as_it_is(path), use_split_objects=True)),
    ".stl": (read_stl, lambda path: bpy.ops.wm.stl_import(**_as_it_is(path))),
    ".ply": (read_ply, lambda path: bpy.ops.wm.ply_import(**_as_it_is(path))),
}


@dataclass(frozen=True, eq=False)
class Opened:
    """What a file holds beside its meshes, which are in the scene.

    turn: (3, 3) from Blender's axes back to the file's own.
    declared: its unit (m) and up axis, or empty.
    referred: files it refers to.
    moved: whether it was moved to the origin.
    remarks: sentences for the user.
    """

    turn: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    declared: dict[str, Any] = field(default_factory=dict)
    referred: tuple[Referred, ...] = ()
    moved: bool = False
    remarks: tuple[str, ...] = ()


def opened(path: Path) -> Opened:
    """Import a file into the empty scene; raises RefusedError, or whatever an importer raises."""
    suffix = path.suffix.lower()
    if suffix in _PLAIN:
        read, import_file = _PLAIN[suffix]
        return _plain(path, read(path), import_file)
    if suffix in (".glb", ".gltf"):
        referred = gltf_files(path)
        bpy.ops.import_scene.gltf(filepath=str(path))
        return Opened(_UNTURN, {"unit_m": 1.0, "up": "y"}, referred)
    return _fbx(path) if suffix == ".fbx" else _usd(path)


def _as_it_is(path: Path) -> dict[str, str]:
    return {"filepath": str(path), "forward_axis": "Y", "up_axis": "Z"}


def _plain(path: Path, plain: Plain, import_file: Any) -> Opened:
    # Blender sees no materials, which are the recipe's.
    referred, offset = pictures_of(path, plain.companions), plain.offset()
    if offset is None and not plain.copied:
        import_file(path)
    else:
        # Of the same name: it is an object's where the file gives none.
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, path.name)
            copy.write_bytes(plain.written(np.zeros(3) if offset is None else offset))
            import_file(copy)
    return Opened(referred=referred, moved=offset is not None, remarks=plain.remarks)


def _fbx(path: Path) -> Opened:
    from io_scene_fbx import parse_fbx

    with path.open("rb") as file:
        if not file.read(20).startswith(b"Kaydara FBX Binary"):
            raise ValueError("no binary FBX file, and Blender reads no other")
    root, _ = parse_fbx.parse(str(path))
    referred, declared = fbx_files(path, root), _fbx_settings(root)
    # With these axes and this scale the importer changes nothing.
    bpy.ops.import_scene.fbx(
        filepath=str(path), use_manual_orientation=True, axis_forward="Y", axis_up="Z",
        global_scale=1 / declared["unit_m"], use_anim=False, use_image_search=False,
    )  # fmt: skip
    return Opened(declared=declared, referred=referred)


def _fbx_settings(root: Any) -> dict[str, Any]:
    """The unit in metres and the up axis that an FBX file states; centimetres and y if it does not."""
    values: dict[bytes, Any] = {}
    for table in (e for top in root.elems if top.id == b"GlobalSettings" for e in top.elems):
        if table.id == b"Properties70":
            values |= {entry.props[0]: entry.props[-1] for entry in table.elems}
    sign = "-" if values.get(b"UpAxisSign", 1) < 0 else ""
    return {
        "unit_m": float(values.get(b"UnitScaleFactor", 1.0)) / 100,
        "up": sign + "xyz"[values.get(b"UpAxis", 1)],
    }


def _usd(path: Path) -> Opened:
    pxr_path()
    from pxr import Tf, Usd, UsdGeom

    referred = usd_files(path)
    try:
        stage = Usd.Stage.Open(str(path))
    except Tf.ErrorException as error:
        raise ValueError("no USD stage that can be opened") from error
    up = str(UsdGeom.GetStageUpAxis(stage)).lower()
    declared = {"unit_m": float(UsdGeom.GetStageMetersPerUnit(stage)), "up": up}
    bpy.ops.wm.usd_import(
        filepath=str(path), apply_unit_conversion_scale=False, import_cameras=False, import_lights=False,
        import_materials=False, set_frame_range=False, create_world_material=False,
    )  # fmt: skip
    return Opened(_UNTURN if up == "y" else np.eye(3), declared, referred)
