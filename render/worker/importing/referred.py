"""Files that a mesh file refers to, checked before an importer opens them: reading a pipe would never end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from render.core.file_types import LIMIT
from render.core.files import sha256_regular
from render.worker.importing.plain import RefusedError


@dataclass(frozen=True)
class Referred:
    """A file that another refers to, hashed before an importer reads it.

    shape: whether its numbers are the mesh's; a picture's are not.
    """

    path: Path
    sha256: str
    shape: bool


def referred(path: Path, said_by: str, *, shape: bool) -> Referred:
    """A file that is there and can be read; raises RefusedError."""
    try:
        return Referred(path, sha256_regular(path, LIMIT), shape)
    except OSError as error:
        raise RefusedError(
            f"{path}, which {said_by} refers to",
            f"{error.strerror or error}; bring it back, or export one file that holds everything",
        ) from error


def pictures_of(path: Path, files: Iterable[Path]) -> tuple[Referred, ...]:
    """The pictures among those named that are there: one that is missing says nothing of the shape."""
    return tuple(
        referred(file, path.name, shape=False) for file in dict.fromkeys(files) if os.path.lexists(file)
    )


# ---- USD --------------------------------------------------------------------------------------------------


def usd_files(path: Path) -> tuple[Referred, ...]:
    """Layers and images of a USD stage, of every variant; raises RefusedError for a missing layer.

    Each layer is opened by itself, after a check that it is a regular file.
    """
    from pxr import Ar, Sdf, Tf, UsdUtils  # after `pxr_path`

    layers: dict[str, None] = {}
    beside: dict[str, Referred] = {}
    queue = [str(path)]
    while queue:
        name = queue.pop()
        if name in layers:
            continue
        layers[name] = None
        try:
            layer = Sdf.Layer.FindOrOpen(name)
        except Tf.ErrorException:
            layer = None
        if layer is None:
            if name == str(path):
                raise ValueError("no USD stage that can be opened")
            raise RefusedError(f"a USD layer at {name}, which {path.name} refers to", "none; export it again")
        for asset in layer.GetCompositionAssetDependencies():
            plain, _ = Sdf.Layer.SplitIdentifier(asset)
            place = Sdf.ComputeAssetPathRelativeToLayer(layer, plain)
            if not Ar.IsPackageRelativePath(place):
                # One without ./ is looked for in the search path, too; where it is nowhere, it belongs
                # beside.
                place = Ar.GetResolver().Resolve(place).GetPathString() or str(Path(name).parent / place)
                beside[place] = referred(Path(place), Path(name).name, shape=True)
            queue.append(place)
    _, assets, _ = UsdUtils.ComputeAllDependencies(str(path))
    beside.pop(str(path), None)
    return (
        *beside.values(),
        *pictures_of(path, (Path(name) for name in map(str, assets) if "[" not in name)),
    )


def pxr_path() -> None:
    """Make the USD library of Blender's wheel importable; last, so that its packages shadow nothing."""
    import bpy

    folder = next(Path(bpy.utils.resource_path("LOCAL")).glob("python/lib/python*/site-packages"))
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


# ---- FBX --------------------------------------------------------------------------------------------------


def fbx_files(path: Path, root: Any) -> tuple[Referred, ...]:
    """Pictures beside an FBX file, from the elements that Blender's parser gives."""
    files: dict[Path, None] = {}
    for element in _elements(root):
        if element.id in (b"RelativeFilename", b"FileName", b"Filename") and element.props:
            name = element.props[0].decode("utf-8", "replace") if isinstance(element.props[0], bytes) else ""
            file = path.parent / name.replace("\\", "/")
            if name and not file.is_dir():
                files[file] = None
    return pictures_of(path, files)


def _elements(element: Any) -> Iterator[Any]:
    for inner in element.elems:
        yield inner
        yield from _elements(inner)
