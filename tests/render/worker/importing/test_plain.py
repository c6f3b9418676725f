"""OBJ, STL and PLY in double precision: values, messages on damaged files, copies at the origin."""

import numpy as np
import pytest

from render.core.file_types import foreign
from render.worker.importing.obj import read_obj
from render.worker.importing.plain import RefusedError
from render.worker.importing.ply import read_ply
from render.worker.importing.stl import read_stl

#: A unit square of two triangles, 4 km from the origin where float32 counts in quarters.
FAR = np.array([4e6, 0, 0])
SQUARE = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], float) + FAR
TRIANGLES = ((0, 1, 2), (0, 2, 3))
OBJ = "".join(f"v {x} {y} {z}\n" for x, y, z in SQUARE) + "f 1 2 3\nf -4 -2 -1\n"
PLY = (
    "ply\nformat {} 1.0\ncomment by hand\nelement vertex 4\nproperty float x\nproperty float y\nproperty "
    "float z\n"
    "property uchar red\nelement face 2\nproperty list uchar int vertex_indices\nend_header\n"
)
PLY_TEXT = PLY.format("ascii") + "".join(f"{x} {y} {z} 7\n" for x, y, z in SQUARE) + "3 0 1 2\n3 0 2 3\n"


def text_stl(points=SQUARE):
    facets = (
        "facet normal 0 0 1\nouter loop\n"
        + "".join("vertex {} {} {}\n".format(*points[i]) for i in triangle)
        + "endloop\nendfacet\n"
        for triangle in TRIANGLES
    )
    return "solid square\n" + "".join(facets) + "endsolid square\n"


def binary_stl(points=SQUARE, promised=2, left=b""):
    facets = b"".join(
        np.array([(0, 0, 1), *(points[i] for i in t)], "<f4").tobytes() + bytes(2) for t in TRIANGLES
    )
    return bytes(80) + promised.to_bytes(4, "little") + facets + left


def binary_ply(order="<", points=SQUARE, faces=b""):
    head = PLY.format("binary_little_endian" if order == "<" else "binary_big_endian").encode()
    rows = np.zeros(4, [("xyz", f"{order}f4", 3), ("red", "u1")])
    rows["xyz"], rows["red"] = points, 7
    listed = b"".join(b"\3" + np.array(t, f"{order}i4").tobytes() for t in TRIANGLES)
    return head + rows.tobytes() + (faces or listed)


def put(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def said(read, path):
    with pytest.raises(RefusedError) as raised:
        read(path)
    return str(raised.value)


@pytest.mark.parametrize(
    ("read", "content"),
    [(read_obj, OBJ), (read_stl, text_stl()), (read_ply, PLY_TEXT)],
)
def test_a_text_far_away_is_copied_to_the_origin(tmp_path, read, content):
    plain = read(put(tmp_path / "a", content))
    np.testing.assert_array_equal(np.unique(plain.points, axis=0), np.unique(SQUARE, axis=0))
    np.testing.assert_array_equal(plain.offset(), FAR + np.array([0.5, 0.5, 0]))
    copy = read(put(tmp_path / "b", plain.written(plain.offset())))
    np.testing.assert_array_equal(
        np.unique(copy.points, axis=0), [(-0.5, -0.5, 0), (-0.5, 0.5, 0), (0.5, -0.5, 0), (0.5, 0.5, 0)]
    )
    assert copy.offset() is None


def test_a_copy_changes_nothing_but_places(tmp_path):
    text = (
        "# a square\nmtllib a.mtl\no plate\n"
        + OBJ.replace("v 4000000.0 0.0 0.0", "v 4000000.0 0.0 0.0 1 0 0")
        + "s off\n"
    )
    plain = read_obj(put(tmp_path / "a.obj", text))
    lines = plain.written(plain.offset()).decode().split("\n")
    assert lines[:4] == ["# a square", "", "o plate", "v -0.5 -0.5 0.0 1 0 0"]
    assert lines[7:] == ["f 1 2 3", "f -4 -2 -1", "s off", ""]
    assert plain.copied  # without the line of materials, also at the origin
    rows = read_ply(put(tmp_path / "a.ply", PLY_TEXT)).written(FAR).decode().splitlines()
    assert rows[-6:] == [
        "0.0 0.0 0.0 7",
        "1.0 0.0 0.0 7",
        "1.0 1.0 0.0 7",
        "0.0 1.0 0.0 7",
        "3 0 1 2",
        "3 0 2 3",
    ]


@pytest.mark.parametrize("order", ["<", ">"])
def test_binary_ply(tmp_path, order):
    near = SQUARE - FAR
    plain = read_ply(put(tmp_path / "a.ply", binary_ply(order, near)))
    np.testing.assert_array_equal(plain.points, near)
    assert (plain.offset(), plain.remarks) == (None, ())
    mixed = (
        b"\3"
        + np.array((0, 1, 2), f"{order}i4").tobytes()
        + b"\4"
        + np.array((0, 1, 2, 3), f"{order}i4").tobytes()
    )
    assert len(read_ply(put(tmp_path / "b.ply", binary_ply(order, near, mixed))).points) == 4
    moved = read_ply(put(tmp_path / "c.ply", plain.written(np.array([1.0, 2, 3]))))
    np.testing.assert_array_equal(moved.points, near - (1, 2, 3))


def test_near_files_stay_as_they_are(tmp_path):
    """Eight times its own length from the origin float32 is still good to 5e-7 of it."""
    for name, content in (("a.obj", OBJ), ("b.stl", text_stl()), ("c.ply", PLY_TEXT)):
        near = content.replace("4000000.0", "7.0").replace("4000001.0", "8.0")
        plain = {"a": read_obj, "b": read_stl, "c": read_ply}[name[0]](put(tmp_path / name, near))
        assert (plain.offset(), plain.copied, plain.remarks) == (None, False, ())


def test_only_corners_of_faces_decide_where_a_mesh_is(tmp_path):
    plain = read_obj(put(tmp_path / "a.obj", OBJ + "v 0 0 0\n"))
    np.testing.assert_array_equal(plain.offset(), FAR + np.array([0.5, 0.5, 0]))


def test_numbers_that_the_file_has_lost_are_told(tmp_path):
    """At 4e6 float32 has steps of 1/4: a quarter of the square, and 1/400 of one a hundred times as large."""
    assert "numbers in steps of 0.25 on a part that is 1 long, 4e+06 from the origin: detail is lost" in said(
        read_stl, put(tmp_path / "a.stl", binary_stl())
    )
    larger = FAR + 100 * (SQUARE - FAR)
    for read, content in ((read_stl, binary_stl(larger)), (read_ply, binary_ply(points=larger))):
        (remark,) = read(put(tmp_path / "b", content)).remarks
        assert "steps of 0.25 on a part that is 100 long" in remark
        assert "move the part to the origin in the CAD program" in remark
    # Written out, whole numbers may be meant: nothing is refused.
    (remark,) = read_stl(put(tmp_path / "c.stl", text_stl())).remarks
    assert "steps of 0.1 on a part that is 1 long, 4e+06 from the origin: detail may be lost" in remark
    assert read_stl(put(tmp_path / "c.stl", binary_stl(SQUARE - FAR))).remarks == ()


@pytest.mark.parametrize(
    ("read", "content", "words"),
    [
        (read_obj, OBJ + "v 1 nan 0\n", "expected three finite numbers, got 1 nan 0 in line 7"),
        (read_obj, OBJ + "vt inf 0\n", "expected two finite texture coordinates, got inf 0 in line 7"),
        (read_obj, "v 1,5 2,0 3,0\n" + OBJ, "expected three numbers after v in line 1, got '1,5 2,0 3,0', "
                                            "which looks like decimal commas"),
        (read_obj, "v 1 2\n", "expected three numbers after v in line 1, got '1 2'"),
        (read_obj, OBJ + "f 1 2 5\n",
            "expected 1 to 4, or -4 to -1, in line 7: the vertices before it, got 5"),
        (read_obj, OBJ + "f 1 2 0\n", "got 0"),
        (read_obj, OBJ + "f -5 2 1\n", "got -5"),
        (read_obj, OBJ + "f 1/1 2/1 3/1\n", "the texture coordinates before it, got 1"),
        (read_obj, OBJ + "f 1 2 x\n", "expected numbers of vertices in line 7, got 'x'"),
        (read_obj, "v 0 0 0\nv 1 0 0\nl 1 2\np 1\n",
            "expected faces with an area, got none (2 vertices, 2 points or lines)"),
        (read_stl, binary_stl(promised=9), "expected 9 triangles (534 bytes), as its header says, got 2 "
                                           "(184 bytes); the file is cut off"),
        (read_stl, binary_stl(promised=0)[:84], "expected faces with an area, got no triangle"),
        (read_stl, b"short", "expected an STL file, got 5 bytes"),
        (read_stl, text_stl()[:-40], "expected endsolid in its last line, got"),
        (read_stl, text_stl().replace("4000001.0 1.0", "4000001,0 1,0"),
            "in line 6, got '4000001,0 1,0 0.0', which looks like decimal commas"),
        (read_stl, text_stl().replace("1.0 0.0\nendloop", "nan 0.0\nendloop", 1),
            "got 4e+06 nan 0 in line 6"),
        (read_ply, PLY_TEXT.replace("vertex 4", "vertex 5"),
            "expected 2 rows of face, as its header says, got 1"),
        (read_ply, PLY_TEXT.replace("face 2", "face 3"),
            "expected 3 rows of face, as its header says, got 2"),
        (read_ply, PLY_TEXT.replace("3 0 2 3", "3 0 2 4"),
            "expected numbers of vertices, 0 to 3, in its faces, got 4"),
        (read_ply, PLY_TEXT.replace("3 0 2 3", "4 0 2 3"),
            "expected a count and as many numbers in row 2 of face, got '4 0 2 3'"),
        (read_ply, PLY_TEXT.replace("4000001.0 1.0 0.0 7", "4000001.0 inf 0.0 7"),
            "got 4e+06 inf 0 in row 3 of vertex"),
        (read_ply, PLY_TEXT.split("element face")[0] + "end_header\n",
            "expected faces with an area, got none (4 points)"),
        (read_ply, PLY_TEXT.replace("property uchar red", "property colour red"),
            "expected a line of a PLY header"),
        (read_ply, binary_ply()[:-8], "expected 2 rows of face, as its header says, got 1"),
        (read_ply, binary_ply()[:-40], "expected 4 rows of vertex, as its header says, got 2"),
    ],
)  # fmt: skip
def test_a_damaged_file_says_where_and_what(tmp_path, read, content, words):
    assert words in said(read, put(tmp_path / "a", content))


def test_what_is_ignored_is_told(tmp_path):
    plain = read_stl(put(tmp_path / "a.stl", binary_stl(SQUARE - FAR, left=b"made by a scanner")))
    assert plain.remarks == ("17 bytes after the last triangle are ignored",)
    assert plain.written(np.zeros(3))[:84] == binary_stl(SQUARE - FAR)[:84]
    assert len(plain.written(np.zeros(3))) == 184


def test_a_mark_of_utf8_hides_no_first_line(tmp_path):
    for read, content in ((read_obj, OBJ), (read_stl, text_stl()), (read_ply, PLY_TEXT)):
        plain = read(put(tmp_path / "a", b"\xef\xbb\xbf" + content.encode()))
        assert len(np.unique(plain.points, axis=0)) == 4
        assert plain.copied


def test_materials_that_an_obj_names(tmp_path):
    """A name with spaces, two on one line, one that is missing; options before the name of a picture."""
    for name in ("my parts.mtl", "b.mtl", "c.mtl", "wood.png"):
        (tmp_path / name).write_text(
            "map_Kd -s 1 1 1 wood.png\nmap_Bump gone.png\n" if name == "b.mtl" else ""
        )
    head = "mtllib my parts.mtl\nmtllib b.mtl c.mtl gone.mtl\n"
    found = read_obj(put(tmp_path / "a.obj", head + OBJ)).companions
    assert [path.name for path in found] == ["my parts.mtl", "b.mtl", "wood.png", "c.mtl"]


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
