"""Checks of glTF files: files they refer to, and non-finite numbers, which Blender's importer drops."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from render.core.file_types import LIMIT
from render.core.files import read_regular
from render.worker.importing.plain import RefusedError, finite
from render.worker.importing.referred import Referred, pictures_of, referred

_GLB_HEAD, _CHUNK_HEAD, _JSON_CHUNK = 12, 8, 0x4E4F534A
_FLOAT32 = 5126
_WIDTHS = {"VEC2": 2, "VEC3": 3}
_CUT = "the file is cut off: copy or export it again"


def gltf_files(path: Path) -> tuple[Referred, ...]:
    """Buffers and pictures beside a .gltf or .glb file.

    Raises RefusedError for a buffer that is missing or cut, and for a corner that is no number.
    """
    data = read_regular(path, LIMIT)
    try:
        text, binary = _chunks(data) if data.startswith(b"glTF") else (data, b"")
        table = json.loads(text)
        beside = [
            one for number in range(len(table.get("buffers", []))) for one in _beside(path, table, number)
        ]
        _check_numbers(path, table, binary)
        pictures = [str(image["uri"]) for image in table.get("images", []) if "uri" in image]
    except RefusedError:
        raise
    except (ValueError, AttributeError, TypeError, LookupError, RecursionError) as error:
        raise RefusedError("glTF (JSON)", f"{error}; export it again") from error
    files = (path.parent / unquote(uri) for uri in pictures if not uri.startswith("data:"))
    return (*beside, *pictures_of(path, files))


def _chunks(data: bytes) -> tuple[bytes, bytes]:
    """The JSON and the binary chunk of a .glb file."""
    if len(data) < _GLB_HEAD + _CHUNK_HEAD:
        raise RefusedError("a binary glTF file", f"{len(data)} bytes; {_CUT}")
    _, _, total = struct.unpack_from("<4sII", data)
    length, kind = struct.unpack_from("<II", data, _GLB_HEAD)
    if len(data) < total:
        raise RefusedError(f"{total} bytes, as its header says", f"{len(data)}; {_CUT}")
    if kind != _JSON_CHUNK:
        raise RefusedError("glTF 2", "another version or no glTF at all; export it as glTF 2")
    start = _GLB_HEAD + _CHUNK_HEAD
    return data[start : start + length], data[start + length + _CHUNK_HEAD :]


def _beside(path: Path, table: dict[str, Any], number: int) -> list[Referred]:
    """The file of a buffer, if it is one."""
    uri, size = table["buffers"][number].get("uri"), int(table["buffers"][number].get("byteLength", 0))
    if uri is None or str(uri).startswith("data:"):
        return []
    file = path.parent / unquote(str(uri))
    found = referred(file, path.name, shape=True)
    if file.stat().st_size < size:
        raise RefusedError(f"{size} bytes in {file}, as {path.name} says", f"{file.stat().st_size}; {_CUT}")
    return [found]


def _check_numbers(path: Path, table: dict[str, Any], binary: bytes) -> None:
    """Refuse places and texture coordinates that are no numbers; compressed ones are not looked at."""
    seen: set[int] = set()
    buffers: dict[int, bytes] = {}
    for mesh in table.get("meshes", []):
        for primitive in mesh["primitives"]:
            for name, number in primitive["attributes"].items():
                if number not in seen and (name == "POSITION" or name.startswith("TEXCOORD")):
                    seen.add(number)
                    what = "three finite numbers" if name == "POSITION" else "two finite texture coordinates"
                    _check_accessor(path, table, table["accessors"][number], (binary, buffers), what)


def _check_accessor(
    path: Path,
    table: dict[str, Any],
    accessor: dict[str, Any],
    held: tuple[bytes, dict[int, bytes]],
    what: str,
) -> None:
    width = _WIDTHS.get(accessor["type"])
    if accessor["componentType"] != _FLOAT32 or width is None or "bufferView" not in accessor:
        return
    view = table["bufferViews"][accessor["bufferView"]]
    binary, buffers = held
    data = buffers.setdefault(view["buffer"], b"") or _buffer(path, table["buffers"][view["buffer"]], binary)
    buffers[view["buffer"]] = data
    start, step = view.get("byteOffset", 0) + accessor.get("byteOffset", 0), view.get("byteStride", 4 * width)
    needed = start + step * (accessor["count"] - 1) + 4 * width
    if len(data) < needed:
        raise RefusedError(f"{needed} bytes of numbers", f"{len(data)}; {_CUT}")
    shape, strides = (accessor["count"], width), (step, 4)
    places = np.ndarray(shape, "<f4", data, start, strides).astype(np.float64)
    finite(places, lambda i: f"at vertex {i + 1}", what)


def _buffer(path: Path, buffer: dict[str, Any], binary: bytes) -> bytes:
    uri = buffer.get("uri")
    if uri is None:
        return binary
    if uri.startswith("data:"):
        return base64.b64decode(uri.partition(",")[2])
    return read_regular(path.parent / unquote(uri), LIMIT)
