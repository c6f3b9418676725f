"""The mesh importer process: reads mesh files until stdin ends.

Request, one line of JSON: {"path": mesh file, "out": file to write, "drop": whether to simulate drops}.
Answer, one line of JSON: `render.assets.importer.Answer`.

The arrays in `out` are "<object number>.vertices" (n, 3), ".triangles" (m, 3) and ".uv" (3 m, 2), in the
units and axes of the file: the rotation and scale of Blender's importers are undone. "landed" (d, 3) holds
the directions that pointed up after drops of all objects together, as one convex solid. A flat body is not
dropped.
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.assets.meshcache import joined, surface_arrays
from render.geometry.resting_poses import centre_of_mass, outermost
from render.shapes.kernels.surface import Surface
from render.worker import leave
from render.worker.importing.checks import RefusedError

#: Corners of the convex hull that is dropped. More corners take longer and do not change the result.
_CORNERS = 128


def main() -> None:
    """Read files until stdin ends."""
    # Blender and its importers print to fd 1. Redirect fd 1 to stderr, and write answers to a copy of it.
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
        # An importer may raise anything for a damaged file. Report it, and continue with the next file.
        reason = f"{_reason(error, path)!r}; open it in Blender and export it again"
        return {"refused": ["a mesh that Blender can import", reason]}


def _read(path: str, out: str, drop: bool) -> dict[str, Any]:
    import bpy

    from render.worker.importing.bodies import surfaces_near_origin
    from render.worker.importing.opening import open_file
    from render.worker.importing.scene import clean_surface

    bpy.ops.wm.read_factory_settings(use_empty=True)
    file = open_file(Path(path))
    file_surfaces, remarks = surfaces_near_origin(file)
    surfaces = {name: clean_surface(surface) for name, surface in file_surfaces.items()}
    surfaces = {name: surface for name, surface in surfaces.items() if len(surface.sizes)}
    landed = _drop(joined([*surfaces.values()])) if surfaces and drop else {}
    with open(out, "wb") as stream:
        np.savez(stream, **surface_arrays([*surfaces.values()]), **landed)
    return {
        "objects": [*surfaces],
        "stated": file.stated,
        "companions": [(os.path.relpath(f.path, Path(path).parent), f.sha256) for f in file.references],
        "remarks": remarks,
    }


def _drop(body: Surface) -> dict[str, NDArray[Any]]:
    """Simulate drops of a body; return {} if the body has no volume, or Blender no rigid bodies."""
    import bpy
    from trimesh.convex import convex_hull

    from render.worker.importing.dropping import drop_on_table
    from render.worker.importing.scene import WELD_SHARE

    if not bpy.app.build_options.bullet:  # a custom build of Blender may lack rigid bodies
        return {}
    corners = outermost(np.unique(body.vertices, axis=0), _CORNERS)
    if np.linalg.matrix_rank(corners - corners.mean(axis=0), tol=WELD_SHARE * float(np.ptp(corners))) < 3:
        return {}
    centre = centre_of_mass(body.vertices, body.triangles)
    if centre is None:  # an open surface is treated as solid and convex
        centre = np.asarray(convex_hull(corners).center_mass)
    return {"landed": drop_on_table(corners, centre)}


def _reason(error: Exception, path: str) -> str:
    """Return the message of an importer on one line, with the name of the file instead of its path."""
    message = re.sub(r"^Error: ", "", str(error).strip()) or type(error).__name__
    return textwrap.shorten(message.replace(path, Path(path).name), 300)


if __name__ == "__main__":
    main()
    leave()
