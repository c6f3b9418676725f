"""Imported meshes, kept on disk: in metres, upright, around the origin, each with the poses it rests in.

The folder is $AL_LOOP_MESH_CACHE, else al-loop/meshes in $XDG_CACHE_HOME, else in ~/.cache. It may be deleted
at any time between two runs; every process that plans or renders a dataset must see the same one.
"""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from render.core.errors import AssetError
from render.core.files import replacing
from render.shapes.kernels.surface import Rest, Surface

#: Goes up when an entry must be made anew. Entries without it are older than 1: nobody looked beside their
#: files.
_ENTRY = 1
#: What reading a file that is missing, cut off or overwritten raises.
_DAMAGED = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)


@dataclass(frozen=True)
class MeshAsset:
    """Imported mesh in metres, rotated upright, with the centre of its bounding box at the origin.

    key: SHA-256; its name in the cache.
    components: names of the file's objects if it holds several, else ("",).
    rests: resting poses of all components together.
    size_m: size of the bounding box.
    stated: unit in metres and upward axis, if the file gives them.
    before: key that earlier versions used for the same arrays; "" if the arrays may differ.
    remarks: sentences on precision and on ignored content.
    """

    key: str
    name: str
    components: tuple[str, ...]
    rests: tuple[Rest, ...]
    size_m: tuple[float, float, float]
    stated: tuple[float, str] | None = None
    before: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def longest_m(self) -> float:
        """The longest side of its bounding box."""
        return max(self.size_m)

    def surface(self, component: str = "") -> Surface:
        """One component, or all of them in one ("")."""
        return stored_surface(self.key, component)


def cache_folder() -> Path:
    """Where imported meshes are kept."""
    own = os.environ.get("AL_LOOP_MESH_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "al-loop" / "meshes"


#: A worker uses a few meshes over and over; a folder of thousands of distractors need not stay in memory.
@lru_cache(maxsize=128)
def stored_surface(key: str, component: str) -> Surface:
    """A component of an imported mesh, or all of them in one (""), from the cache; raises AssetError."""
    try:
        with (cache_folder() / f"{key}.npz").open("rb") as file, np.load(file) as held:
            names = json.loads(str(held["about"]))["components"]
            if component and component not in names:
                raise AssetError(f"expected one of the components {', '.join(names)}, got {component!r}")
            return joined([_piece(held, i) for i, n in enumerate(names) if component in ("", n)])
    except _DAMAGED as error:
        raise AssetError(
            f"expected the imported mesh {key[:12]} in {cache_folder()}, got {type(error).__name__}; "
            "the cache was emptied, or AL_LOOP_MESH_CACHE differs here: run the command again"
        ) from error


def cached_mesh(key: str, name: str) -> MeshAsset | None:
    """Return the mesh of a key; None if the cache lacks it or it is damaged."""
    try:
        with (cache_folder() / f"{key}.npz").open("rb") as file, np.load(file) as held:
            about, turns, weights = json.loads(str(held["about"])), held["turns"], held["weights"]
            if about["entry"] != _ENTRY:
                return None
    except _DAMAGED:
        return None  # it is imported again
    rests = (Rest(tuple(t), weight=w) for t, w in zip(turns.tolist(), weights.tolist(), strict=True))
    return MeshAsset(
        key=key,
        name=name,
        components=tuple(about["components"]),
        rests=tuple(rests),
        size_m=tuple(about["size_m"]),
        stated=tuple(about["stated"]) if about["stated"] else None,
        before=about["before"],
        remarks=tuple(about["remarks"]),
    )


@dataclass(frozen=True)
class ImportNotes:
    """What only an import shows of a file.

    companions: files it refers to, by their paths from its folder.
    moved: whether it is far from the origin.
    """

    companions: tuple[str, ...] = ()
    moved: bool = False


def read_notes(key: str) -> ImportNotes:
    """Return the notes on a file; empty before its first import."""
    try:
        held = json.loads((cache_folder() / f"{key}.json").read_text(encoding="utf-8"))
        return ImportNotes(tuple(map(str, held["companions"])), bool(held["moved"]))
    except (*_DAMAGED, TypeError):
        return ImportNotes()


def write_notes(key: str, what: ImportNotes) -> None:
    """Store notes on a file; raises AssetError when the folder cannot be written."""
    if what != read_notes(key):
        text = json.dumps({"companions": what.companions, "moved": what.moved})
        with _entry(f"{key}.json") as file:
            file.write(text.encode())


def store_mesh(asset: MeshAsset, pieces: Sequence[Surface]) -> None:
    """Store a mesh, a surface for each component; raises AssetError when the folder cannot be written."""
    about = {
        "entry": _ENTRY,
        "components": asset.components,
        "size_m": asset.size_m,
        "stated": asset.stated,
        "before": asset.before,
        "remarks": asset.remarks,
    }
    arrays: dict[str, NDArray[Any]] = {
        "about": np.array(json.dumps(about)),
        "turns": np.array([rest.rotation for rest in asset.rests]),
        "weights": np.array([rest.weight for rest in asset.rests]),
    }
    for number, piece in enumerate(pieces):
        arrays[f"{number}.vertices"] = piece.vertices
        arrays[f"{number}.triangles"] = piece.triangles.astype(np.int32)
        if piece.uv is not None:
            arrays[f"{number}.uv"] = piece.uv.astype(np.float32)
    with _entry(f"{asset.key}.npz") as file:
        np.savez(file, **arrays)


def joined(pieces: Sequence[Surface]) -> Surface:
    """Surfaces as one; it has texture coordinates if all of them do."""
    if len(pieces) == 1:
        return pieces[0]
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces[:-1])])
    uv = [piece.uv for piece in pieces if piece.uv is not None]
    return Surface(
        np.concatenate([piece.vertices for piece in pieces]),
        np.concatenate([piece.corners + start for piece, start in zip(pieces, starts, strict=True)]),
        np.concatenate([piece.sizes for piece in pieces]),
        uv=np.concatenate(uv) if len(uv) == len(pieces) else None,
    )


@contextlib.contextmanager
def _entry(name: str) -> Iterator[IO[bytes]]:
    """Open a file of the cache for writing; raises AssetError when the folder cannot be written."""
    path = cache_folder() / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False, shared=True) as file:
            yield file
    except OSError as error:
        raise AssetError(
            f"expected to write imported meshes to {path.parent}, got {error.strerror or error}; "
            "name another folder: AL_LOOP_MESH_CACHE=PATH python -m render ..."
        ) from error


def _piece(held: Mapping[str, NDArray[Any]], number: int) -> Surface:
    triangles = held[f"{number}.triangles"].astype(np.int64)
    uv = f"{number}.uv"
    return Surface(
        held[f"{number}.vertices"],
        triangles.ravel(),
        np.full(len(triangles), 3),
        uv=held[uv].astype(np.float64) if uv in held else None,
    )
