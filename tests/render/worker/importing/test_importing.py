"""The real Blender on hand-written mesh files of every format: one shape without mirror symmetry."""

import base64
import json
import subprocess
import sys

import numpy as np
import pytest

from render.assets.load import load_assets
from render.core.errors import AssetError
from render.geometry.resting_poses import resting
from render.recipe.tables import Distractors, Part, Recipe

pytestmark = pytest.mark.render

#: A tetrahedron with legs of 1, 2 and 3 along x, y and z; its faces look outward.
CORNERS = ((0, 0, 0), (1, 0, 0), (0, 2, 0), (0, 0, 3))
FACES = ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3))
#: Where it lies around its bounding box, in the file's own axes.
SETTLED = np.array(CORNERS) - (0.5, 1.0, 1.5)
VOLUME = 1.0

#: Writes the tetrahedron with Blender: an FBX file in Blender's own way (centimetres, y up).
EXPORT = """
import sys, bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
mesh = bpy.data.meshes.new("tet")
mesh.from_pydata({corners}, [], {faces})
thing = bpy.data.objects.new("tet", mesh)
bpy.context.scene.collection.objects.link(thing)
bpy.ops.export_scene.fbx(filepath=sys.argv[1])
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AL_LOOP_MESH_CACHE", str(tmp_path / "cache"))


def obj(corners=CORNERS, faces=FACES, name="tet", first=1):
    lines = [f"o {name}", *("v {} {} {}".format(*c) for c in corners)]
    return "\n".join(lines + ["f " + " ".join(str(i + first) for i in face) for face in faces]) + "\n"


def stl():
    facets = (
        "facet normal 0 0 0\nouter loop\n"
        + "".join("vertex {} {} {}\n".format(*CORNERS[i]) for i in face)
        + "endloop\nendfacet\n"
        for face in FACES
    )
    return "solid tet\n" + "".join(facets) + "endsolid tet\n"


def ply():
    head = (
        "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
        "element face 4\nproperty list uchar int vertex_indices\nend_header\n"
    )
    return (
        head
        + "".join("{} {} {}\n".format(*c) for c in CORNERS)
        + "".join("3 {} {} {}\n".format(*f) for f in FACES)
    )


def gltf(path):
    """With its numbers in a file beside it, and a node that moves the whole."""
    numbers = np.array(CORNERS, "<f4").tobytes() + np.array(FACES, "<u2").tobytes()
    path.with_suffix(".bin").write_bytes(numbers)
    scene = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "tet", "translation": [5, 6, 7]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"uri": path.with_suffix(".bin").name, "byteLength": len(numbers)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": 48},
            {"buffer": 0, "byteOffset": 48, "byteLength": 24},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3", "min": [0, 0, 0],
                "max": [1, 2, 3]},
            {"bufferView": 1, "componentType": 5123, "count": 12, "type": "SCALAR"},
        ],
    }  # fmt: skip
    path.write_text(json.dumps(scene))
    return scene, numbers


def usda(up, unit_m):
    return (
        f'#usda 1.0\n(\n    metersPerUnit = {unit_m}\n    upAxis = "{up}"\n)\n'
        'def Xform "root"\n{\n  def Mesh "tet"\n  {\n'
        f"    int[] faceVertexCounts = [3, 3, 3, 3]\n"
        f"    int[] faceVertexIndices = {[i for face in FACES for i in face]}\n"
        f"    point3f[] points = {list(CORNERS)}\n"
        '    uniform token subdivisionScheme = "none"\n  }\n}\n'
    )


def same_places(found, expected):
    """Whether two sets of points are one, whatever their order."""
    np.testing.assert_allclose(
        sorted(np.round(found, 4).tolist()), sorted(np.round(expected, 4).tolist()), atol=2e-4
    )


def load(root, *meshes, **settings):
    parts = tuple(Part(name=name, mesh=name, **settings) for name in meshes)
    return load_assets(Recipe(name="x", parts=parts), root)


@pytest.mark.slow
def test_every_format_gives_the_same_mesh_in_the_files_own_axes(tmp_path, capfd):
    (tmp_path / "a.obj").write_text(obj())
    (tmp_path / "a.stl").write_text(stl())
    (tmp_path / "a.ply").write_text(ply())
    scene, numbers = gltf(tmp_path / "a.gltf")
    scene["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(numbers).decode()
    (tmp_path / "b.gltf").write_text(json.dumps(scene))
    (tmp_path / "y.usda").write_text(usda("Y", 0.01))
    (tmp_path / "z.usda").write_text(usda("Z", 1))
    names = ("a.obj", "a.stl", "a.ply", "a.gltf", "b.gltf", "y.usda", "z.usda")
    assets = load(tmp_path, *names)
    for name in names:
        mesh = assets.meshes[name]
        assert mesh.components == ("",), name
        assert mesh.size_m == pytest.approx((1, 2, 3)), name
        assert mesh.surface().volume == pytest.approx(VOLUME), name
        same_places(mesh.surface().vertices, SETTLED)
    stated = {name: assets.meshes[name].stated for name in names}
    assert stated["a.obj"] is stated["a.stl"] is stated["a.ply"] is None
    assert stated["a.gltf"] == (1.0, "y")
    assert (stated["y.usda"], stated["z.usda"]) == ((0.01, "y"), (1.0, "z"))
    assert capfd.readouterr() == ("", "")


def test_fbx_is_read_in_its_own_numbers(tmp_path):
    """Blender writes x, z, -y in hundredths of its unit; up = "y", units = "cm" undo that."""
    code = EXPORT.format(corners=CORNERS, faces=FACES)
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.fbx")], check=True, capture_output=True)
    mesh = load(tmp_path, "a.fbx", units="cm", up="y").meshes["a.fbx"]
    assert mesh.stated == (0.01, "y")
    same_places(mesh.surface().vertices, SETTLED)
    raw = load(tmp_path, "a.fbx", size_m=1.0).meshes["a.fbx"]
    assert raw.size_m == pytest.approx((100, 300, 200), rel=1e-5)


def test_up_turns_the_mesh_and_does_not_mirror_it(tmp_path):
    (tmp_path / "a.obj").write_text(obj())
    x, y, z = SETTLED.T
    for up, turned in {"y": (x, -z, y), "x": (-z, y, x), "-z": (x, -y, -z)}.items():
        surface = load(tmp_path, "a.obj", units="in", up=up).meshes["a.obj"].surface()
        same_places(surface.vertices / 0.0254, np.stack(turned, axis=1))
        assert surface.volume == pytest.approx(VOLUME * 0.0254**3)


def test_objects_are_components(tmp_path):
    """Also what a group inside an object is not."""
    second = obj([(x + 10, y, z) for x, y, z in CORNERS], FACES[:2], "lid", first=5)
    (tmp_path / "two.obj").write_text(obj(name="body") + second + "g half\n" + "f 5 8 7\nf 6 7 8\n")
    mesh = load(tmp_path, "two.obj").meshes["two.obj"]
    assert sorted(mesh.components) == ["body", "lid"]
    assert mesh.size_m == pytest.approx((11, 2, 3))
    same_places(mesh.surface("body").vertices, np.array(CORNERS) - (5.5, 1, 1.5))
    same_places(mesh.surface("lid").vertices, np.array(CORNERS) - (-4.5, 1, 1.5))
    assert mesh.surface().volume == pytest.approx(2 * VOLUME)


def test_a_neglected_mesh_is_cleaned(tmp_path):
    """Inside out, a flipped face, doubled corners and faces, a loose edge and corner, a flat face.

    The face without area sits on an edge: its third corner stays there and the faces beside it end at it.
    """
    corners = [*CORNERS, *CORNERS, (9, 9, 9), (0.5, 0, 0)]
    faces = [f[::-1] for f in FACES[:3]] + [tuple(i + 4 for i in FACES[3]), FACES[0], (0, 1, 9)]
    (tmp_path / "a.obj").write_text(obj(corners, faces) + "l 1 9\n")
    surface = load(tmp_path, "a.obj").meshes["a.obj"].surface()
    same_places(surface.vertices, [*SETTLED, (0.0, -1.0, -1.5)])
    assert len(surface.sizes) == 6
    assert surface.volume == pytest.approx(VOLUME)


def test_a_hollow_polygon_is_cut_into_triangles_that_fill_it(tmp_path):
    """An L of area 3, whose fan around the first corner would reach over its notch."""
    outline = [(2, 0), (2, 1), (1, 1), (1, 2), (0, 2), (0, 0)]
    bottom, top = [(x, y, 0) for x, y in outline], [(x, y, 1) for x, y in outline]
    sides = [(i, (i + 1) % 6, 6 + (i + 1) % 6, 6 + i) for i in range(6)]
    faces = [tuple(range(5, -1, -1)), tuple(range(6, 12)), *sides]
    (tmp_path / "a.obj").write_text(obj(bottom + top, faces))
    mesh = load(tmp_path, "a.obj").meshes["a.obj"]
    assert mesh.surface().volume == pytest.approx(3)
    assert np.linalg.norm(mesh.surface().normals, axis=1).sum() / 2 == pytest.approx(2 * 3 + 8)
    assert set(mesh.surface().sizes.tolist()) == {3}


def test_texture_coordinates_stay_with_their_corners(tmp_path):
    """Each corner's u is its own x, its v its z / 4."""
    uv = "".join(f"vt {x} {z / 4}\n" for x, _, z in CORNERS)
    faces = "".join("f " + " ".join(f"{i + 1}/{i + 1}" for i in face) + "\n" for face in FACES)
    (tmp_path / "a.obj").write_text(obj(faces=()) + uv + faces)
    surface = load(tmp_path, "a.obj").meshes["a.obj"].surface()
    at = surface.vertices[surface.corners] + (0.5, 1, 1.5)
    np.testing.assert_allclose(surface.uv, np.stack([at[:, 0], at[:, 2] / 4], axis=1), atol=1e-6)


def test_what_blender_cannot_read_is_one_clear_error_each(tmp_path, capfd):
    bad = {
        "garbage.obj": b"this is no mesh\n" * 20,
        "cloud.ply": ply().split("element face")[0].encode() + b"end_header\n" + b"0 0 0\n" * 4,
        "flat.stl": stl().replace("3\n", "0\n").replace("0 2 0", "3 0 0").encode(),
        "cut.stl": bytes(80) + (1000).to_bytes(4, "little") + bytes(50),
        "ascii.fbx": b"; FBX 7.4.0 project file\n",
        "garbage.glb": b"glTF" + bytes(100),
        "garbage.usdc": b"PXR-USDC" + bytes(10),
        "nan.stl": bytes(80) + (1).to_bytes(4, "little") + np.full(12, np.nan, "<f4").tobytes() + bytes(2),
    }
    (tmp_path / "things").mkdir()
    for name, content in bad.items():
        (tmp_path / "things" / name).write_bytes(content)
    (tmp_path / "things" / "good.obj").write_text(obj())
    wanted = Recipe(name="x", parts=(Part(name="d", shape="die"),), distractors=Distractors(folder="things"))
    assets = load_assets(wanted, tmp_path)
    assert [mesh.name for mesh in assets.mesh_folders["things"]] == ["good"]
    assert len(assets.warnings) == len(bad)
    for name, warning in zip(sorted(bad), assets.warnings, strict=True):
        assert f"distractors.folder = {tmp_path / 'things' / name}: expected" in warning
        assert "\n" not in warning
    said = "\n".join(assets.warnings)
    assert "ascii.fbx: expected a mesh that Blender can import, got 'not a binary FBX file" in said
    assert "garbage.usdc: expected a mesh that Blender can import, got 'not a USD stage" in said
    assert "cloud.ply: expected faces with an area, got none" in said
    with pytest.raises(AssetError, match=r"garbage\.obj: expected faces with an area, got none"):
        load(tmp_path / "things", "garbage.obj")
    assert capfd.readouterr() == ("", "")


def block(x, y, z, at=(0.0, 0.0, 0.0)):
    """Corners and faces of a box, the faces looking outward."""
    corners = [(at[0] + a, at[1] + b, at[2] + c) for a in (0, x) for b in (0, y) for c in (0, z)]
    return corners, [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]


def upwards(mesh):
    """Direction -> chance, of what points up in each of a mesh's poses."""
    return {tuple(np.reshape(r.rotation, (3, 3))[2].round(1).tolist()): r.weight for r in mesh.rests}


def test_a_block_is_dropped_and_lies_on_its_broad_sides(tmp_path):
    """0.65 of all directions topple a 1 x 2 x 3 block there; 0.13: four standard errors of 240 drops."""
    corners, faces = block(1, 2, 3)
    (tmp_path / "a.obj").write_text(obj(corners, faces))
    lies = upwards(load(tmp_path, "a.obj").meshes["a.obj"])
    assert lies[(1.0, 0.0, 0.0)] + lies[(-1.0, 0.0, 0.0)] == pytest.approx(0.65, abs=0.13)
    assert all(max(map(abs, up)) == 1 for up in lies)
    # Counted, and no solid angle is a whole number of 240ths.
    assert all(chance * 240 == pytest.approx(round(chance * 240), abs=1e-6) for chance in lies.values())
    # The same drops at every import.
    (tmp_path / "b.obj").write_text(obj(corners, faces) + "# the same\n")
    assert upwards(load(tmp_path, "b.obj").meshes["b.obj"]) == lies


def test_several_objects_fall_as_one_body_about_their_common_centre_of_mass(tmp_path):
    """A heavy plate with a thin mast in its middle never stands on the mast; a sheet is not dropped."""
    plate, mast = block(4, 4, 1), block(0.2, 0.2, 3, at=(1.9, 1.9, 1.0))
    (tmp_path / "a.obj").write_text(obj(*plate, name="plate") + obj(*mast, name="mast", first=9))
    lies = upwards(load(tmp_path, "a.obj").meshes["a.obj"])
    assert lies[(0.0, 0.0, 1.0)] > 0.4
    assert (0.0, 0.0, -1.0) not in lies
    (tmp_path / "b.obj").write_text(obj([(0, 0, 0), (1, 0, 0), (1, 2, 0), (0, 2, 0)], [(0, 1, 2, 3)]))
    assert upwards(load(tmp_path, "b.obj").meshes["b.obj"]) == {(0.0, 0.0, 1.0): 0.5, (0.0, 0.0, -1.0): 0.5}


def test_distractors_are_not_dropped(tmp_path):
    """They are thrown anywhere: a folder of thousands need not wait for it."""
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "a.obj").write_text(obj(*block(1, 2, 3)))
    wanted = Recipe(name="x", parts=(Part(name="d", shape="die"),), distractors=Distractors(folder="things"))
    (mesh,) = load_assets(wanted, tmp_path).mesh_folders["things"]
    by_angles = resting(np.array(block(1, 2, 3)[0], float))
    assert [r.weight for r in mesh.rests] == pytest.approx([r.weight for r in by_angles])
