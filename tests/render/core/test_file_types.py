"""What a file under the name of a mesh really is."""

import pytest

from render.core.file_types import foreign


@pytest.mark.parametrize(
    ("start", "suffix", "words"),
    [
        ("v 1 2 3\n".encode("utf-16"), ".obj", "text in UTF-16; save it as UTF-8"),
        ("solid a\n".encode("utf-16-le"), ".stl", "text in UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", ".stl", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", ".glb", "a web page (HTML)"),
        (b"PK\x03\x04rest", ".stl", "a ZIP archive; unpack it"),
        (b"PK\x03\x04rest", ".usdz", ""),
        (b"ISO-10303-21;\nHEADER;", ".stl", "a STEP file; convert it"),
        (b" " * 72 + b"S      1\n", ".obj", "an IGES file; convert it"),
        (b"ply\nformat ascii 1.0\n", ".obj", "a PLY file; name it .ply"),
        (b"glTF\2\0\0\0", ".fbx", "a binary glTF file; name it .glb"),
        (bytes(4096), ".stl", "nothing but zeros"),
        (b"# Blender\nv 1 2 3\n", ".obj", ""),
        (bytes(80) + b"\1\0\0\0\0\0\0\0", ".stl", ""),
    ],
)  # fmt: skip
def test_what_a_file_really_is(start, suffix, words):
    assert words in foreign(start, suffix)
    assert bool(words) == bool(foreign(start, suffix))
