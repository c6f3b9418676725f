"""A scene on its way to another machine, with the files that it names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec

from render.assets.meshcache import cache_folder
from render.core.errors import AssetError
from render.core.spec import SceneSpec

#: Marks a path whose file was sent along.
_SENT = "sent://"


def packed(spec: SceneSpec, sent: Collection[str]) -> tuple[bytes, dict[str, bytes]]:
    """A scene as JSON with its files' paths replaced by names, and the files that were not sent before."""
    meshes = {thing.mesh.file for thing in spec.objects if thing.mesh.file}
    files = {f"{key}.npz": cache_folder() / f"{key}.npz" for key in meshes}

    def name_of(text: str) -> str:
        if not os.path.isabs(text) or not os.path.isfile(text):
            return text
        name = hashlib.sha256(text.encode()).hexdigest()[:20] + Path(text).suffix
        files[name] = Path(text)
        return _SENT + name

    scene = _with_texts(msgspec.to_builtins(spec), name_of)
    try:
        new = {name: path.read_bytes() for name, path in files.items() if name not in sent}
    except OSError as error:
        raise AssetError(
            f"a file of scene {spec.index} is gone ({error}); bring it back and run again"
        ) from error
    return msgspec.json.encode(scene), new


def unpacked(data: bytes, folder: Path) -> SceneSpec:
    """The scene of `packed`, its files in a folder of this machine."""

    def path_of(text: str) -> str:
        return str(folder / text.removeprefix(_SENT)) if text.startswith(_SENT) else text

    return msgspec.convert(_with_texts(msgspec.json.decode(data), path_of), SceneSpec)


def _with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The same JSON with every text changed."""
    if isinstance(value, dict):
        return {key: _with_texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_texts(item, change) for item in value]
    return change(value) if isinstance(value, str) else value
