"""Mesh files: imported once by Blender; converted to metres, upright, centred; stored in the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from render.assets.importer import Imported, import_files
from render.assets.meshcache import (
    MeshAsset,
    cached_mesh,
    joined,
    read_companions,
    store_mesh,
    write_companions,
)
from render.core.errors import AssetError
from render.core.file_types import LIMIT, foreign
from render.core.files import open_regular, sha256_regular
from render.geometry.resting_poses import centre_of_mass, resting
from render.shapes.kernels.surface import Surface

SUFFIXES = (".obj", ".stl", ".ply", ".glb", ".gltf", ".usd", ".usda", ".usdc", ".usdz", ".fbx")
METRES = {"mm": 0.001, "cm": 0.01, "in": 0.0254, "m": 1.0}
#: The rotation that turns an axis of the file to z.
UPRIGHT_TURNS = {
    "z": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-z": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "y": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "-y": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "x": ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
    "-x": ((0, 0, 1), (0, 1, 0), (-1, 0, 0)),
}
#: Goes up when the same file would give another mesh, so that no old one is taken from the cache.
_FORMAT = 3
#: Formats that refer to other files.
_REFERRING = (".obj", ".gltf", ".glb", ".usd", ".usda", ".usdc", ".fbx")


@dataclass(frozen=True)
class MeshSource:
    """A mesh file and how its numbers are to be read; `where` is the recipe's key.

    dropped: whether it is to be known how it comes to lie; that takes longer than to read a small file.
    """

    where: str
    path: Path
    units: str = "m"
    up: str = "z"
    dropped: bool = True


def load_meshes(sources: Sequence[MeshSource], python: str | None) -> list[MeshAsset | AssetError]:
    """Return for every file its mesh, from the cache or through Blender, or why it was refused.

    Raises AssetError if the cache cannot be written, BlenderMissingError if Blender is needed and missing,
    and WorkerError if its interpreter cannot be run.
    """
    results: dict[MeshSource, MeshAsset | AssetError] = {}
    # Files that are the same are imported once; those that refer to others must share a folder for that.
    unknown: dict[tuple[str, Path | None], list[MeshSource]] = {}
    for source in dict.fromkeys(sources):
        try:
            base = _key(source)
        except AssetError as error:
            results[source] = error
            continue
        mesh = _recalled(source, base)
        if mesh is not None:
            results[source] = mesh
        else:
            refers = source.path.suffix.lower() in _REFERRING
            unknown.setdefault((base, source.path.parent if refers else None), []).append(source)
    wanted = [(alike[0].path, alike[0].dropped) for alike in unknown.values()]
    with closing(import_files(wanted, python)) as imported:
        for ((base, _), alike), content in zip(unknown.items(), imported, strict=True):
            try:
                mesh = _keep(base, alike[0], content)
            except AssetError as error:
                results |= dict.fromkeys(alike, error)
            else:
                results |= {source: replace(mesh, name=source.path.stem) for source in alike}
    return [results[source] for source in sources]


def _recalled(source: MeshSource, base: str) -> MeshAsset | None:
    """The mesh of a file as it and all that it refers to are now, if the cache has it."""
    folder = source.path.parent
    return cached_mesh(
        _full_key(base, [(name, _digest(folder / name)) for name in read_companions(base)]), source.path.stem
    )


def _keep(base: str, source: MeshSource, content: Imported) -> MeshAsset:
    """Store a mesh and what its import has shown; raises AssetError when it is none."""
    answer = content.answer
    if answer.refused:
        raise _bad(source, *answer.refused)
    if not content.surfaces:
        raise _bad(source, "faces with an area", "none; export the surface as a mesh")
    surfaces = _upright(content.surfaces, source)
    whole = joined(surfaces)
    landed = None if content.landed is None else content.landed @ np.array(UPRIGHT_TURNS[source.up]).T
    x, y, z = np.ptp(whole.vertices, axis=0).tolist()
    asset = MeshAsset(
        key=_full_key(base, answer.companions),
        name=source.path.stem,
        # A single object's name is whatever the CAD program put there: it is no component of anything.
        components=answer.objects if len(surfaces) > 1 else ("",),
        rests=resting(whole.vertices, centre_of_mass(whole.vertices, whole.triangles), landed),
        size_m=(x, y, z),
        stated=answer.stated,
        remarks=answer.remarks,
    )
    store_mesh(asset, surfaces)
    write_companions(base, [name for name, _ in answer.companions])
    return asset


def _upright(surfaces: Sequence[Surface], source: MeshSource) -> list[Surface]:
    """The surfaces in metres, upright, around the origin."""
    turn = np.array(UPRIGHT_TURNS[source.up], np.float64) * METRES[source.units]
    places = [surface.vertices @ turn.T for surface in surfaces]
    corners = np.concatenate(places)
    middle = (corners.max(axis=0) + corners.min(axis=0)) / 2
    return [
        replace(surface, vertices=place - middle) for place, surface in zip(places, surfaces, strict=True)
    ]


def _bad(source: MeshSource, expected: str, got: str) -> AssetError:
    return AssetError(f"{source.where} = {source.path}: expected {expected}, got {got}")


def _full_key(base: str, companions: Sequence[tuple[str, str]]) -> str:
    """Key of a mesh: that of the file by itself, unless it refers to others."""
    return _hash([base, sorted(companions)]) if companions else base


def _digest(path: Path) -> str:
    """SHA-256 of a file; "" where there is none that can be read, which no import has seen."""
    try:
        return sha256_regular(path, LIMIT)
    except OSError:
        return ""


def _key(source: MeshSource) -> str:
    """SHA-256 of all that decides the mesh, except the files that this one refers to."""
    path, suffix = source.path, source.path.suffix.lower()
    if not path.exists():
        raise _bad(source, "a mesh file", "nothing there; paths are relative to the recipe's folder")
    if path.is_dir():
        raise _bad(source, "a mesh file", "a folder; name one of its files")
    if suffix not in SUFFIXES:
        advice = "; convert it in the program it is from" if suffix else ""
        raise _bad(source, f"one of {', '.join(SUFFIXES)}", (path.suffix or "no suffix") + advice)
    try:
        with open_regular(path) as file:
            start = file.read(4096)
        digest = sha256_regular(path, LIMIT)
    except OSError as error:
        raise _bad(source, f"to read {path}", error.strerror or str(error)) from error
    if not start:
        raise _bad(source, "a mesh file", "an empty file; export it again")
    if other := foreign(start, suffix):
        raise _bad(source, f"a mesh file ({suffix})", other)
    return _hash([_FORMAT, suffix, source.units, source.up, source.dropped, digest])


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
