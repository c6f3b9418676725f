"""What a file under a mesh's name really is, told from its first bytes."""

from __future__ import annotations

import re

#: Bytes of a mesh file, or of one that it refers to.
LIMIT = 2**31
#: First bytes, the suffixes of a file that may begin so, and what any other file is and what to do.
_STARTS: tuple[tuple[bytes, tuple[str, ...], str], ...] = (
    (b"version https://git-lfs.github.com/spec", (),
        "a Git LFS pointer in place of the file; fetch it: git lfs pull"),
    (b"ISO-10303-21", (), "a STEP file; convert it to STL, OBJ or glTF in a CAD program"),
    (b"\x1f\x8b", (), "a gzip archive; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", (), "a 7z archive; unpack it"),
    (b"Rar!", (), "a RAR archive; unpack it"),
    (b"PK\x03\x04", (".usdz",), "a ZIP archive; unpack it"),
    (b"%PDF", (), "a PDF; export the mesh from the CAD program"),
    (b"\x89PNG", (), "a picture (PNG)"),
    (b"\xff\xd8\xff", (), "a picture (JPEG)"),
    (b"BLENDER", (), "a Blender file; export the mesh from Blender"),
    (b"ply\n", (".ply",), "a PLY file; name it .ply"),
    (b"ply\r", (".ply",), "a PLY file; name it .ply"),
    (b"glTF", (".glb", ".gltf"), "a binary glTF file; name it .glb"),
    (b"Kaydara FBX Binary", (".fbx",), "an FBX file; name it .fbx"),
    (b"PXR-USDC", (".usd", ".usdc"), "a binary USD file; name it .usdc"),
    (b"#usda", (".usd", ".usda"), "a USD text file; name it .usda"),
)  # fmt: skip
_TEXTS = (".obj", ".stl", ".ply", ".gltf", ".usda")
#: The first line of an IGES file: 72 columns, "S" for start, a number of seven columns.
_IGES = re.compile(rb"[^\r\n]{72}S[ 0]{6}1")


def foreign(start: bytes, suffix: str) -> str:
    """Return what a file is that is no mesh of its suffix, and what to do; "" if it cannot be told.

    start: first kilobytes of the file.
    suffix: lower case, with the dot.
    """
    if suffix in _TEXTS and _is_utf16(start):
        return "text in UTF-16; save it as UTF-8 or ASCII"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    for first, suffixes, what in _STARTS:
        if text.startswith(first) and suffix not in suffixes:
            return what
    if text[:200].lower().startswith((b"<!doctype html", b"<html")):
        return "a web page (HTML), perhaps of a login; download the file itself"
    if text.startswith(b"<?xml") or b"<COLLADA" in text[:1000]:
        return "XML; export the mesh in one of the formats that are read"
    if _IGES.match(start):
        return "an IGES file; convert it to STL, OBJ or glTF in a CAD program"
    if len(start) >= 512 and not start.strip(b"\0"):
        return "nothing but zeros, as a copy that broke off leaves it; copy it again"
    return ""


def _is_utf16(start: bytes) -> bool:
    """Whether a text has a mark of UTF-16, or a zero in every second byte."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    sample = start[: len(start) // 2 * 2][:512]
    low, high = sample[0::2], sample[1::2]
    return len(sample) >= 8 and any(
        not a.strip(b"\0") and b.isascii() and b"\0" not in b for a, b in ((low, high), (high, low))
    )
