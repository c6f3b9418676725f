"""A scene on its way to another machine, with the files that it names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
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
    files: dict[str, Path] = {}

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: named(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [named(item) for item in value]
        if isinstance(value, str) and os.path.isabs(value) and os.path.isfile(value):
            name = hashlib.sha256(value.encode()).hexdigest()[:20] + Path(value).suffix
            files[name] = Path(value)
            return _SENT + name
        return value

    plain = named(msgspec.to_builtins(spec))
    meshes = {thing.mesh.file for thing in spec.objects if thing.mesh.file}
    files |= {f"{key}.npz": cache_folder() / f"{key}.npz" for key in meshes}
    try:
        new = {name: path.read_bytes() for name, path in files.items() if name not in sent}
    except OSError as error:
        raise AssetError(
            f"a file of scene {spec.index} is gone ({error}); bring it back and run again"
        ) from error
    return msgspec.json.encode(plain), new


def unpacked(data: bytes, folder: Path) -> SceneSpec:
    """The scene of `packed`, its files in a folder of this machine."""

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [placed(item) for item in value]
        if isinstance(value, str) and value.startswith(_SENT):
            return str(folder / value.removeprefix(_SENT))
        return value

    return msgspec.convert(placed(msgspec.json.decode(data)), SceneSpec)
