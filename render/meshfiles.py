"""Mesh files: imported once by Blender, settled in metres, upright and around the origin, kept in the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from render.errors import AssetError
from render.importer import Imported, Piece, import_files
from render.meshcache import MeshAsset, joined, keep, recall
from render.poses import centre_of_mass, resting
from render.shapes.surface import Surface

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
    """For every file its mesh, from the cache or through Blender, or what is wrong with the file.

    Raises AssetError when the cache cannot be written, BlenderMissingError when a file needs a Blender that is
    not there, WorkerError when its Python cannot be run.
    """
    keys: dict[MeshSource, str] = {}
    faults: dict[MeshSource | str, AssetError] = {}
    for source in sources:
        try:
            keys[source] = _key(source)
        except AssetError as error:
            faults[source] = error
    unknown: dict[str, MeshSource] = {}
    for source, key in keys.items():
        if key not in unknown and recall(key, source.path.stem) is None:
            unknown[key] = source
    with closing(
        import_files([(source.path, source.dropped) for source in unknown.values()], python)
    ) as imported:
        for (key, source), result in zip(unknown.items(), imported, strict=True):
            try:
                settled = _settle(key, source, result)
            except AssetError as error:
                faults[key] = error
            else:
                keep(*settled)
    return [
        faults.get(source)
        or faults.get(keys[source])
        or recall(keys[source], source.path.stem)
        or _lost(source)
        for source in sources
    ]


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
    if not path.is_file():
        raise _bad(source, "a mesh file", "a folder; name one of its files")
    if path.suffix.lower() not in SUFFIXES:
        raise _bad(source, f"one of {', '.join(SUFFIXES)}", path.suffix or "no suffix")
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
            with file.open("rb") as content:
                one = hashlib.file_digest(content, "sha256")
                if file == path and content.tell() == 0:
                    raise _bad(source, "a mesh file", "an empty file; export it again")
        except OSError as error:
            raise _bad(source, f"to read {file}", error.strerror or str(error)) from error
        digest.update(one.digest())
    return digest.hexdigest()


def _companions(source: MeshSource) -> list[Path]:
    """Files that hold a .gltf file's numbers."""
    if source.path.suffix.lower() != ".gltf":
        return []
    try:
        buffers = json.loads(source.path.read_text(encoding="utf-8")).get("buffers", [])
        uris = [str(buffer["uri"]) for buffer in buffers if "uri" in buffer]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise _bad(source, "glTF (JSON)", f"{error}; export it again") from error
    return [source.path.parent / unquote(uri) for uri in uris if not uri.startswith("data:")]


# ---- from the file's numbers to metres --------------------------------------------------------------------


def _settle(key: str, source: MeshSource, result: Imported | str) -> tuple[MeshAsset, list[Surface]]:
    """The mesh, and a surface for each of its components; raises AssetError when it is none."""
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
