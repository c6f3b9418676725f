"""OBJ, STL and PLY in double precision: values, messages on damaged files, the move to the origin."""

import numpy as np
import pytest

from render.worker.importing.bodies import surfaces_near_origin
from render.worker.importing.checks import RefusedError
from render.worker.importing.obj import read_obj
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


READERS = [(read_obj, OBJ), (read_stl, text_stl()), (read_ply, PLY_TEXT)]
#: The square around the origin.
CENTRED = [(-0.5, -0.5, 0), (-0.5, 0.5, 0), (0.5, -0.5, 0), (0.5, 0.5, 0)]


def points(file):
    """All vertices, each once."""
    return np.unique(np.concatenate([body.corners for body in file.bodies]), axis=0)


@pytest.mark.parametrize(("read", "content"), READERS)
def test_a_text_far_away_is_moved_to_the_origin_in_double_precision(tmp_path, read, content):
    file = read(put(tmp_path / "a", content))
    np.testing.assert_array_equal(points(file), np.unique(SQUARE, axis=0))
    surfaces, _ = surfaces_near_origin(file)
    (surface,) = surfaces.values()
    np.testing.assert_array_equal(np.unique(surface.vertices, axis=0), CENTRED)
    np.testing.assert_array_equal(np.sort(surface.normals[:, 2]), [1, 1])


@pytest.mark.parametrize(("read", "content"), READERS)
def test_a_mesh_near_the_origin_stays_where_it_is(tmp_path, read, content):
    """Eight times its own length from the origin float32 is still good to 5e-7 of it."""
    near = content.replace("4000000.0", "7.0").replace("4000001.0", "8.0")
    surfaces, remarks = surfaces_near_origin(read(put(tmp_path / "a", near)))
    (surface,) = surfaces.values()
    np.testing.assert_array_equal(
        np.unique(surface.vertices, axis=0), np.unique(SQUARE - FAR + (7, 0, 0), axis=0)
    )
    assert remarks == ()


@pytest.mark.parametrize("order", ["<", ">"])
def test_binary_ply(tmp_path, order):
    near = SQUARE - FAR
    (body,) = read_ply(put(tmp_path / "a.ply", binary_ply(order, near))).bodies
    np.testing.assert_array_equal(body.surface.vertices, near)
    np.testing.assert_array_equal(body.surface.triangles, TRIANGLES)
    faces = [(0, 1, 2), (0, 1, 2, 3), (0, 2, 3)] + 30 * [(1, 2, 3)] + [(3, 2, 1, 0)]
    rows = b"".join(bytes([len(face)]) + np.array(face, f"{order}i4").tobytes() for face in faces)
    content = binary_ply(order, near, rows).replace(b"face 2", b"face 34")
    (body,) = read_ply(put(tmp_path / "b.ply", content)).bodies
    assert body.surface.sizes.tolist() == [len(face) for face in faces]
    assert body.surface.corners.tolist() == [corner for face in faces for corner in face]
    with pytest.raises(RefusedError, match="expected 34 rows of face, as its header says, got 33"):
        read_ply(put(tmp_path / "c.ply", content[:-1]))


def test_texture_coordinates_of_a_ply(tmp_path):
    text = (
        "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
        "property float s\nproperty float t\nelement face 1\nproperty list int int vertex_index\n"
        "end_header\n0 0 0 0 0\n1 0 0 1 0\n0 1 0 0 1\n2 2 2 0 0\n3 0 1 2\n"
    )
    (body,) = read_ply(put(tmp_path / "a.ply", text)).bodies
    assert body.surface.uv.tolist() == [[0, 0], [1, 0], [0, 1]]
    assert len(body.surface.vertices) == 3
    with pytest.raises(RefusedError, match="expected vertex_indices of its faces"):
        read_ply(put(tmp_path / "b.ply", text.replace("vertex_index", "corners")))


def test_objects_of_an_obj(tmp_path):
    """A second name before any face replaces the first; indices go through the whole file."""
    text = (
        "v 0 0 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nf 1/1 2/2 3\n"
        "o lid\no my lid\nv 0 0 2\nf 1 2 -1\no my lid\nf 1 3 4\nf 1 2\no empty\n"
    )
    bodies = read_obj(put(tmp_path / "a.obj", text)).bodies
    assert [body.name for body in bodies] == ["a", "my lid", "my lid.001"]
    assert bodies[0].surface.uv.tolist() == [[0, 0], [1, 0], [0, 0]]
    assert bodies[1].surface.uv is None
    assert bodies[1].surface.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 2]]
    assert bodies[2].surface.sizes.tolist() == [3]


def test_a_vertex_that_a_face_has_twice_is_doubled(tmp_path):
    (body,) = read_obj(put(tmp_path / "a.obj", OBJ.replace("f 1 2 3", "f 1 2 3 2"))).bodies
    first = body.surface.corners[:4]
    assert len(set(first.tolist())) == 4
    np.testing.assert_array_equal(body.surface.vertices[first], SQUARE[[0, 1, 2, 1]])


def test_only_corners_of_faces_decide_where_a_mesh_is(tmp_path):
    surfaces, _ = surfaces_near_origin(read_obj(put(tmp_path / "a.obj", OBJ + "v 0 0 0\n")))
    np.testing.assert_array_equal(np.unique(surfaces["a"].vertices, axis=0), CENTRED)


def test_numbers_that_the_file_has_lost_are_told(tmp_path):
    """At 4e6 float32 has steps of 1/4: a quarter of the square, and 1/400 of one a hundred times as large."""
    lost = "numbers in steps of 0.25 on a part that is 1 long, 4e\\+06 from the origin: detail is lost"
    with pytest.raises(RefusedError, match=lost):
        surfaces_near_origin(read_stl(put(tmp_path / "a.stl", binary_stl())))
    larger = FAR + 100 * (SQUARE - FAR)
    for read, content in ((read_stl, binary_stl(larger)), (read_ply, binary_ply(points=larger))):
        _, (remark,) = surfaces_near_origin(read(put(tmp_path / "b", content)))
        assert "steps of 0.25 on a part that is 100 long" in remark
        assert "move the part to the origin in the CAD program" in remark
    # Written out, whole numbers may be meant: nothing is refused.
    for read, content in READERS:
        _, (remark,) = surfaces_near_origin(read(put(tmp_path / "c", content)))
        assert "steps of 0.1 on a part that is 1 long, 4e+06 from the origin: detail may be lost" in remark


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
            "expected 2 rows of face, as its header says, got 1"),
        (read_ply, PLY_TEXT.replace("4000001.0 1.0", "4000001,0 1,0"),
            "expected numbers in line 14, got '4000001,0 1,0 0.0 7', which looks like decimal commas"),
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
    file = read_stl(put(tmp_path / "a.stl", binary_stl(SQUARE - FAR, left=b"made by a scanner")))
    assert surfaces_near_origin(file)[1] == ("17 bytes after the last triangle are ignored",)
    np.testing.assert_array_equal(points(file), np.unique(SQUARE - FAR, axis=0))


@pytest.mark.parametrize(("read", "content"), READERS)
def test_a_mark_of_utf8_hides_no_first_line(tmp_path, read, content):
    assert len(points(read(put(tmp_path / "a", b"\xef\xbb\xbf" + content.encode())))) == 4
