"""Imported meshes, kept on disk: in metres, upright, around the origin, each with the poses it rests in.

The folder is $AL_LOOP_MESH_CACHE, else al-loop/meshes in $XDG_CACHE_HOME, else in ~/.cache. It may be deleted
at any time between two runs; every process that plans or renders a dataset must see the same one.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from render.core.errors import AssetError
from render.core.files import atomic_file
from render.shapes.kernels.surface import Rest, Surface

#: What reading a file that is missing, cut off, overwritten or of an earlier version raises.
_DAMAGED = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, msgspec.MsgspecError)


@dataclass(frozen=True)
class MeshAsset:
    """Imported mesh in metres, rotated upright, with the centre of its bounding box at the origin.

    key: SHA-256; its name in the cache.
    components: names of the file's objects if it holds several, else ("",).
    rests: resting poses of all components together.
    size_m: size of the bounding box.
    stated: unit in metres and upward axis, if the file gives them.
    remarks: sentences on precision and on ignored content.
    """

    key: str
    name: str
    components: tuple[str, ...]
    rests: tuple[Rest, ...]
    size_m: tuple[float, float, float]
    stated: tuple[float, str] | None
    remarks: tuple[str, ...]

    @property
    def longest_m(self) -> float:
        """The longest side of its bounding box."""
        return max(self.size_m)

    def surface(self, component: str = "") -> Surface:
        """One component, or all of them in one ("")."""
        return stored_surface(self.key, component)


def cache_folder() -> Path:
    """Where imported meshes are kept."""
    if folder := os.environ.get("AL_LOOP_MESH_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "al-loop" / "meshes"


#: A worker uses a few meshes over and over; a folder of thousands of distractors need not stay in memory.
@lru_cache(maxsize=128)
def stored_surface(key: str, component: str) -> Surface:
    """A component of an imported mesh, or all of them in one (""), from the cache; raises AssetError."""
    try:
        with (cache_folder() / f"{key}.npz").open("rb") as file, np.load(file) as arrays:
            names = _asset(arrays).components
            if component and component not in names:
                raise AssetError(f"expected one of the components {', '.join(names)}, got {component!r}")
            return joined([read_surface(arrays, i) for i, n in enumerate(names) if component in ("", n)])
    except _DAMAGED as error:
        raise AssetError(
            f"expected the imported mesh {key[:12]} in {cache_folder()}, got {type(error).__name__}; "
            "the cache was emptied, or AL_LOOP_MESH_CACHE differs here: run the command again"
        ) from error


def cached_mesh(key: str, name: str) -> MeshAsset | None:
    """Return the mesh of a key; None if the cache lacks it or it is damaged: it is imported again."""
    try:
        with (cache_folder() / f"{key}.npz").open("rb") as file, np.load(file) as arrays:
            return replace(_asset(arrays), name=name)
    except _DAMAGED:
        return None


def store_mesh(asset: MeshAsset, surfaces: Sequence[Surface]) -> None:
    """Store a mesh, a surface for each component; raises AssetError when the folder cannot be written."""
    about = np.array(msgspec.json.encode(asset).decode())
    _write(f"{asset.key}.npz", lambda file: np.savez(file, about=about, **surface_arrays(surfaces)))


def read_companions(key: str) -> list[str]:
    """Return which files a file refers to, by paths from its folder; empty before its first import."""
    try:
        return msgspec.json.decode((cache_folder() / f"{key}.json").read_bytes(), type=list[str])
    except _DAMAGED:
        return []


def write_companions(key: str, names: Sequence[str]) -> None:
    """Store which files a file refers to; raises AssetError when the folder cannot be written."""
    if names != read_companions(key):
        _write(f"{key}.json", lambda file: file.write(msgspec.json.encode(names)))


def joined(surfaces: Sequence[Surface]) -> Surface:
    """Surfaces as one; it has texture coordinates if all of them do."""
    if len(surfaces) == 1:
        return surfaces[0]
    starts = np.cumsum([0, *(len(surface.vertices) for surface in surfaces[:-1])])
    uv = [surface.uv for surface in surfaces if surface.uv is not None]
    return Surface(
        np.concatenate([surface.vertices for surface in surfaces]),
        np.concatenate([surface.corners + start for surface, start in zip(surfaces, starts, strict=True)]),
        np.concatenate([surface.sizes for surface in surfaces]),
        uv=np.concatenate(uv) if len(uv) == len(surfaces) else None,
    )


def surface_arrays(surfaces: Sequence[Surface]) -> dict[str, NDArray[Any]]:
    """Arrays of surfaces of triangles: "NUMBER.vertices", ".triangles" and perhaps ".uv"."""
    arrays: dict[str, NDArray[Any]] = {}
    for number, surface in enumerate(surfaces):
        arrays[f"{number}.vertices"] = surface.vertices
        arrays[f"{number}.triangles"] = surface.triangles.astype(np.int32)
        if surface.uv is not None:
            arrays[f"{number}.uv"] = surface.uv.astype(np.float32)
    return arrays


def read_surface(arrays: Mapping[str, NDArray[Any]], number: int) -> Surface:
    """Build a surface from the arrays of `surface_arrays`."""
    triangles = arrays[f"{number}.triangles"].astype(np.int64)
    uv = f"{number}.uv"
    return Surface(
        arrays[f"{number}.vertices"],
        triangles.ravel(),
        np.full(len(triangles), 3),
        uv=arrays[uv].astype(np.float64) if uv in arrays else None,
    )


def _asset(arrays: Mapping[str, NDArray[Any]]) -> MeshAsset:
    return msgspec.json.decode(str(arrays["about"]), type=MeshAsset)


def _write(name: str, write: Callable[[IO[bytes]], object]) -> None:
    path = cache_folder() / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path, durable=False, shared=True) as file:
            write(file)
    except OSError as error:
        raise AssetError(
            f"expected to write imported meshes to {path.parent}, got {error.strerror or error}; "
            "name another folder: AL_LOOP_MESH_CACHE=PATH python -m render ..."
        ) from error
