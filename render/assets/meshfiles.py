"""Mesh files: imported once by Blender; converted to metres, upright, centred; stored in the cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from render.assets.importer import Imported, Piece, Refused, import_files
from render.assets.meshcache import (
    ImportNotes,
    MeshAsset,
    cached_mesh,
    joined,
    read_notes,
    store_mesh,
    write_notes,
)
from render.core.errors import AssetError
from render.core.file_types import LIMIT, foreign
from render.core.files import open_regular, read_regular, sha256_regular
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
_FORMAT = 2
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
    bases: dict[MeshSource, str] = {}
    faults: dict[MeshSource, AssetError] = {}
    for source in sources:
        try:
            bases[source] = _key(source)
        except AssetError as error:
            faults[source] = error
    held = {source: _recalled(source, base) for source, base in bases.items()}
    # Files that are the same, with the same beside them, are imported once.
    groups = {source: _alike(source, base) for source, base in bases.items()}
    unknown: dict[tuple[str, Path | None], MeshSource] = {}
    for source, group in groups.items():
        if held[source] is None:
            unknown.setdefault(group, source)
    keys: dict[tuple[str, Path | None], str] = {}
    with closing(
        import_files([(source.path, source.dropped) for source in unknown.values()], python)
    ) as imported:
        for (alike, source), result in zip(unknown.items(), imported, strict=True):
            try:
                keys[alike] = _keep(bases[source], source, result)
            except AssetError as error:
                faults |= {other: error for other in bases if groups[other] == alike}
    return [
        faults.get(source)
        or held[source]
        or cached_mesh(keys[groups[source]], source.path.stem)
        or _lost(source)
        for source in sources
    ]


def _recalled(source: MeshSource, base: str) -> MeshAsset | None:
    """The mesh of a file as it and all that it refers to are now, if the cache has it."""
    what = read_notes(base)
    folder = source.path.parent
    return cached_mesh(
        _full_key(base, [(n, _digest(folder / n)) for n in what.companions], what.moved), source.path.stem
    )


def _alike(source: MeshSource, base: str) -> tuple[str, Path | None]:
    """Key of the sources that one import can serve: those that refer to others must share a folder."""
    return base, source.path.parent if source.path.suffix.lower() in _REFERRING else None


def _full_key(base: str, companions: Sequence[tuple[str, str]], moved: bool) -> str:
    """The mesh's key: that of the file by itself, unless it refers to others or was moved to the origin."""
    if not companions and not moved:
        return base
    return hashlib.sha256(json.dumps([base, sorted(companions), moved]).encode()).hexdigest()


def _digest(path: Path) -> str:
    """SHA-256 of a file; "" where there is none that can be read, which no import has seen."""
    try:
        return sha256_regular(path, LIMIT)
    except OSError:
        return ""


def _keep(base: str, source: MeshSource, result: Imported | Refused | str) -> str:
    """Store a mesh and what its import has shown, and return its key; raises AssetError when it is none."""
    asset, pieces = _settle(base, source, result)
    assert isinstance(result, Imported)
    own = {os.path.relpath(file, source.path.parent) for file in _companions(source)}  # in the file's own key
    beside = [one for one in result.companions if one.name not in own]
    key = _full_key(base, [(one.name, one.sha256) for one in beside], result.moved)
    before = "" if result.moved or any(one.shape for one in beside) else base
    store_mesh(replace(asset, key=key, before=before, remarks=result.remarks), pieces)
    write_notes(base, ImportNotes(tuple(one.name for one in beside), result.moved))
    return key


def _bad(source: MeshSource, expected: str, got: str) -> AssetError:
    return AssetError(f"{source.where} = {source.path}: expected {expected}, got {got}")


def _lost(source: MeshSource) -> AssetError:
    return _bad(source, "its import in the mesh cache", "none; something else empties that folder")


# ---- the key ----------------------------------------------------------------------------------------------


def _key(source: MeshSource) -> str:
    """SHA-256 of all that decides the mesh: the file, those it refers to, how it is read, and by what."""
    path = source.path
    if not path.exists():
        raise _bad(source, "a mesh file", "nothing there; paths are relative to the recipe's folder")
    if path.is_dir():
        raise _bad(source, "a mesh file", "a folder; name one of its files")
    if path.suffix.lower() not in SUFFIXES:
        advice = "; convert it in the program it is from" if path.suffix else ""
        raise _bad(source, f"one of {', '.join(SUFFIXES)}", (path.suffix or "no suffix") + advice)
    settings = {
        "format": _FORMAT,
        "suffix": path.suffix.lower(),
        "units": source.units,
        "up": source.up,
        "dropped": source.dropped,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for file in (path, *_companions(source)):
        try:
            if file == path:
                with open_regular(file) as content:
                    _check_start(source, content.read(4096) or b"")
            one = bytes.fromhex(sha256_regular(file, LIMIT))
        except OSError as error:
            raise _bad(source, f"to read {file}", error.strerror or str(error)) from error
        digest.update(one)
    return digest.hexdigest()


def _check_start(source: MeshSource, start: bytes) -> None:
    if not start:
        raise _bad(source, "a mesh file", "an empty file; export it again")
    other = foreign(start, source.path.suffix.lower())
    if other:
        raise _bad(source, f"a mesh file ({source.path.suffix.lower()})", other)


def _companions(source: MeshSource) -> list[Path]:
    """Files that hold a .gltf file's numbers."""
    if source.path.suffix.lower() != ".gltf":
        return []
    try:
        buffers = json.loads(read_regular(source.path, LIMIT)).get("buffers", [])
        uris = [str(buffer["uri"]) for buffer in buffers if "uri" in buffer]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise _bad(source, "glTF (JSON)", f"{error}; export it again") from error
    return [source.path.parent / unquote(uri) for uri in uris if not uri.startswith("data:")]


# ---- from the file's numbers to metres --------------------------------------------------------------------


def _settle(
    key: str, source: MeshSource, result: Imported | Refused | str
) -> tuple[MeshAsset, list[Surface]]:
    """The mesh, and a surface for each of its components; raises AssetError when it is none."""
    if isinstance(result, Refused):
        raise _bad(source, result.expected, result.got)
    if isinstance(result, str):
        raise _bad(
            source, "a mesh that Blender can import", f"{result!r}; open it in Blender and export it again"
        )
    if not result.pieces:
        raise _bad(source, "faces with an area", "none; export the surface as a mesh")
    pieces = _upright(result.pieces, source)
    whole = joined(pieces)
    x, y, z = np.ptp(whole.vertices, axis=0).tolist()
    asset = MeshAsset(
        key=key,
        name=source.path.stem,
        # A single object's name is whatever the CAD program put there: it is no component of anything.
        components=tuple(piece.name for piece in result.pieces) if len(pieces) > 1 else ("",),
        rests=resting(
            whole.vertices,
            centre_of_mass(whole.vertices, whole.triangles),
            None if result.landed is None else result.landed @ np.array(UPRIGHT_TURNS[source.up]).T,
        ),
        size_m=(x, y, z),
        stated=result.stated,
    )
    return asset, pieces


def _upright(pieces: Sequence[Piece], source: MeshSource) -> list[Surface]:
    """The pieces in metres, upright, around the origin."""
    turn = np.array(UPRIGHT_TURNS[source.up], np.float64) * METRES[source.units]
    places = [piece.vertices @ turn.T for piece in pieces]
    corners = np.concatenate(places)
    middle = (corners.max(axis=0) + corners.min(axis=0)) / 2
    return [
        Surface(place - middle, piece.triangles.ravel(), np.full(len(piece.triangles), 3), uv=piece.uv)
        for place, piece in zip(places, pieces, strict=True)
    ]
