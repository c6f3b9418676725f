"""Checks glTF files: the files they refer to, and non-finite numbers, which Blender's importer ignores."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from render.worker.importing.checks import RefusedError, require_finite
from render.worker.importing.references import Reference, existing_images, hash_reference


def gltf_files(path: Path) -> tuple[Reference, ...]:
    """Return the buffers and images that a .gltf or .glb file refers to.

    Raises RefusedError for a buffer that is missing or cut off, and for non-finite coordinates. Other damage
    raises the error of Blender's reader.
    """
    from io_scene_gltf2.io.com.path import uri_to_path
    from io_scene_gltf2.io.imp.gltf2_io_binary import BinaryData
    from io_scene_gltf2.io.imp.gltf2_io_gltf import glTFImporter

    def files(parts: Iterable[Any] | None) -> dict[int, Path]:
        uris = {number: part.uri for number, part in enumerate(parts or ()) if part.uri}
        return {n: path.parent / uri_to_path(uri) for n, uri in uris.items() if not uri.startswith("data:")}

    gltf = glTFImporter(str(path), {"import_user_extensions": []})
    gltf.read()
    # Check the buffers before Blender opens one: reading a named pipe would never end.
    buffers = {number: hash_reference(file, path.name) for number, file in files(gltf.data.buffers).items()}
    for number, buffer in enumerate(gltf.data.buffers or ()):
        gltf.load_buffer(number)
        size = len(gltf.buffers.get(number, b""))
        if number in gltf.buffers and size < buffer.byte_length:
            file = buffers[number].path if number in buffers else path
            raise RefusedError(
                f"{buffer.byte_length} bytes in {file}, as {path.name} says",
                f"{size}; the file is cut off: copy or export it again",
            )
    for number, what in _coordinates(gltf.data).items():
        require_finite(BinaryData.decode_accessor(gltf, number), lambda i: f"at vertex {i + 1}", what)
    return (*buffers.values(), *existing_images(path, files(gltf.data.images).values()))


def _coordinates(data: Any) -> dict[int, str]:
    """Return what each accessor of positions and texture coordinates must hold."""
    attributes = [
        attribute
        for mesh in data.meshes or ()
        for primitive in mesh.primitives
        for attribute in primitive.attributes.items()
    ]
    uv = {
        number: "two finite texture coordinates" for name, number in attributes if name.startswith("TEXCOORD")
    }
    return uv | {number: "three finite numbers" for name, number in attributes if name == "POSITION"}
