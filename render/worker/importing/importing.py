"""Mesh importer: a process of its own, which ends after its last file.

Input, a line of JSON: {"path": mesh file, "out": file to write, "drop": whether to simulate drops}.
Output, a line of JSON: {"objects": [names], "declared": unit and axis of the file, "companions": [[path from
    the file's folder, SHA-256, whether the shape depends on it]], "moved": whether it was moved to the
    origin, "remarks": [sentences]}; or {"refused": [expected, actual]}, {"broken": reason}, {"missing":
    reason} without bpy.

The arrays in `out` are "<object number>.vertices" (n, 3), ".triangles" (m, 3) and ".uv" (3 m, 2), in the
file's own numbers and axes: what Blender's importers rotate and scale is undone. "landed" (d, 3) is how all
objects together, as one convex solid, came to rest after drops; a flat body is not dropped.
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.geometry.resting_poses import centre_of_mass, outermost
from render.worker import leave
from render.worker.importing.plain import RefusedError
from render.worker.importing.referred import Referred

#: Corners of the body that is dropped: more take longer and change nothing.
_CORNERS = 128


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
    except RefusedError as error:
        return {"refused": [error.expected, error.got]}
    except Exception as error:
        # A file can break an importer in any way; the next one gets its chance.
        return {"broken": _reason(error, path)}


def _read(path: str, out: str, drop: bool) -> dict[str, Any]:
    import bpy

    from render.worker.importing.bodies import bodies, cleaned, settled
    from render.worker.importing.opening import opened

    bpy.ops.wm.read_factory_settings(use_empty=True)
    opened_file = opened(Path(path))
    pieces_found = bodies()
    moved, remarks = settled(pieces_found)
    objects: dict[str, list[Any]] = {}
    for body in pieces_found:
        objects.setdefault(body.name, []).append(body.made)
    arrays: dict[str, NDArray[Any]] = {}
    names: list[str] = []
    for name, pieces in objects.items():
        piece = cleaned(pieces)
        if len(piece["triangles"]):
            piece["vertices"] = piece["vertices"] @ opened_file.turn.T
            arrays |= {f"{len(names)}.{key}": array for key, array in piece.items()}
            names.append(name)
    if names and drop:
        arrays |= _dropped([(arrays[f"{i}.vertices"], arrays[f"{i}.triangles"]) for i in range(len(names))])
    with open(out, "wb") as file:
        np.savez(file, **arrays)
    return {
        "objects": names,
        "declared": opened_file.declared,
        "companions": _companions(Path(path), opened_file.referred),
        "moved": opened_file.moved or moved,
        "remarks": [*opened_file.remarks, *remarks],
    }


def _dropped(pieces: list[tuple[NDArray[np.float64], NDArray[np.int64]]]) -> dict[str, NDArray[Any]]:
    """Simulate drops of the pieces as one body; empty if they have no volume or Blender no rigid bodies."""
    import bpy

    from render.worker.importing.bodies import SAME
    from render.worker.importing.dropping import landed

    if not bpy.app.build_options.bullet:  # a Blender of one's own need not have them
        return {}
    vertices = np.concatenate([vertices for vertices, _ in pieces])
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in pieces[:-1])])
    triangles = np.concatenate([faces + start for (_, faces), start in zip(pieces, starts, strict=True)])
    corners = outermost(np.unique(vertices, axis=0), _CORNERS)
    if np.linalg.matrix_rank(corners - corners.mean(axis=0), tol=SAME * float(np.ptp(corners))) < 3:
        return {}
    centre = centre_of_mass(vertices, triangles)
    if centre is None:  # an open surface: as if it were solid and convex
        centre = centre_of_mass(corners, _hull(corners))
    return {} if centre is None else {"landed": landed(corners, centre)}


def _hull(corners: NDArray[np.float64]) -> NDArray[np.int64]:
    """Triangles (m, 3), looking outward, of the convex hull of points."""
    import bmesh

    hull = bmesh.new()
    for corner in corners:
        hull.verts.new(corner)
    hull.verts.index_update()
    bmesh.ops.convex_hull(hull, input=hull.verts)
    bmesh.ops.triangulate(hull, faces=hull.faces)
    bmesh.ops.recalc_face_normals(hull, faces=hull.faces)
    triangles = np.array([[corner.index for corner in face.verts] for face in hull.faces])
    hull.free()
    return triangles


def _companions(path: Path, referred: Iterable[Referred]) -> list[tuple[str, str, bool]]:
    """Files beside a mesh file: path from its folder, SHA-256, and whether the shape depends on it."""
    folder = os.path.abspath(path.parent)
    return [
        (os.path.relpath(os.path.abspath(file.path), folder), file.sha256, file.shape) for file in referred
    ]


def _reason(error: Exception, path: str) -> str:
    """What an importer says, on one line, without the path that the caller names anyway."""
    message = re.sub(r"^Error: ", "", str(error).strip()) or type(error).__name__
    return textwrap.shorten(message.replace(path, Path(path).name), 300)


if __name__ == "__main__":
    main()
    leave()
