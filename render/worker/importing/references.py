"""Files that a mesh file refers to.

They are checked before an importer opens them: reading a named pipe would never end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from render.core.file_types import LIMIT
from render.core.files import sha256_regular
from render.worker.importing.checks import RefusedError


@dataclass(frozen=True)
class Reference:
    """A file that another refers to, hashed before an importer reads it."""

    path: Path
    sha256: str


def hash_reference(path: Path, referring_file: str) -> Reference:
    """Hash a referenced file; raise RefusedError if it cannot be read."""
    try:
        return Reference(path, sha256_regular(path, LIMIT))
    except OSError as error:
        raise RefusedError(
            f"{path}, which {referring_file} refers to",
            f"{error.strerror or error}; bring it back, or export one file that holds everything",
        ) from error


def existing_images(path: Path, files: Iterable[Path]) -> tuple[Reference, ...]:
    """Return the images that exist; a missing image does not change the shape."""
    return tuple(hash_reference(file, path.name) for file in dict.fromkeys(files) if os.path.lexists(file))


def usd_files(path: Path) -> tuple[Reference, ...]:
    """Return the layers of a USD stage, also of its variants; raise RefusedError if one is missing.

    Each layer is opened separately, after a check that it is a regular file.
    """
    from pxr import Ar, Sdf, Tf  # after `pxr_path`

    layers: set[str] = set()
    references: dict[str, Reference] = {}
    queue = [str(path)]
    while queue:
        name = queue.pop()
        if name in layers:
            continue
        layers.add(name)
        try:
            layer = Sdf.Layer.FindOrOpen(name)
        except Tf.ErrorException:
            layer = None
        if layer is None and name == str(path):
            raise ValueError("not a USD stage that can be opened")
        if layer is None:
            raise RefusedError(f"a USD layer at {name}, which {path.name} refers to", "none; export it again")
        for asset in layer.GetCompositionAssetDependencies():
            identifier, _ = Sdf.Layer.SplitIdentifier(asset)
            place = Sdf.ComputeAssetPathRelativeToLayer(layer, identifier)
            if not Ar.IsPackageRelativePath(place):
                # A path without ./ is also looked up in the search path.
                place = Ar.GetResolver().Resolve(place).GetPathString() or str(Path(name).parent / place)
                references[place] = hash_reference(Path(place), Path(name).name)
            queue.append(place)
    references.pop(str(path), None)
    return tuple(references.values())


def pxr_path() -> None:
    """Append the USD library of Blender's wheel to sys.path; at the end, so that it shadows no package."""
    import bpy

    folder = next(Path(bpy.utils.resource_path("LOCAL")).glob("python/lib/python*/site-packages"))
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def fbx_files(path: Path, root: Any) -> tuple[Reference, ...]:
    """Return the images that an FBX file refers to; root: the result of Blender's parser."""
    names = [
        element.props[0].decode("utf-8", "replace")
        for element in _elements(root)
        if element.id in (b"RelativeFilename", b"FileName", b"Filename")
        and element.props
        and isinstance(element.props[0], bytes)
    ]
    files = (path.parent / name.replace("\\", "/") for name in names if name)
    return existing_images(path, (file for file in files if not file.is_dir()))


def _elements(element: Any) -> Iterator[Any]:
    for inner in element.elems:
        yield inner
        yield from _elements(inner)
