"""The real Blender on meshes with references, far from the origin, or damaged, in one process."""

import json
import os
import zipfile

import numpy as np
import pytest

from render.assets.load import load_assets
from render.assets.meshcache import cache_folder
from render.recipe.tables import Distractors, Part, Recipe

pytestmark = pytest.mark.render

#: A tetrahedron with legs of 1, 2 and 3 along x, y and z; its faces look outward.
CORNERS = np.array([(0, 0, 0), (1, 0, 0), (0, 2, 0), (0, 0, 3)], float)
FACES = ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3))
FAR = np.array([4e7, 1.2e7, 3e4])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AL_LOOP_MESH_CACHE", str(tmp_path / "cache"))


def obj(corners=CORNERS, head=""):
    lines = [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in corners]
    return head + "\n".join(lines + ["f " + " ".join(str(i + 1) for i in face) for face in FACES]) + "\n"


def stage(body):
    return f'#usda 1.0\n(\n  defaultPrim = "root"\n  metersPerUnit = 1\n  upAxis = "Z"\n)\n{body}\n'


def mesh(height=3, corner="0"):
    return (
        'def Mesh "tet" {\n int[] faceVertexCounts = [3, 3, 3, 3]\n'
        f" int[] faceVertexIndices = {[i for face in FACES for i in face]}\n"
        f" point3f[] points = [({corner}, 0, 0), (1, 0, 0), (0, 2, 0), (0, 0, {height})]\n"
        ' uniform token subdivisionScheme = "none"\n}'
    )


def gltf(path, shift, corner=0.0):
    """Numbers in a file beside it, and a node that moves the whole."""
    places = CORNERS.astype("<f4")
    places[0, 0] = corner
    numbers = places.tobytes() + np.array(FACES, "<u2").tobytes()
    path.with_suffix(".bin").write_bytes(numbers)
    table = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "tet", "translation": shift}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"uri": path.with_suffix(".bin").name, "byteLength": len(numbers)}],
        "bufferViews": [{"buffer": 0, "byteOffset": 0, "byteLength": 48}, {"buffer": 0, "byteOffset": 48,
            "byteLength": 24}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3", "min": [0, 0, 0],
                "max": [1, 2, 3]},
            {"bufferView": 1, "componentType": 5123, "count": 12, "type": "SCALAR"},
        ],
    }  # fmt: skip
    path.write_text(json.dumps(table))


def load(root):
    """Meshes of the folder "things" by name, and the warnings."""
    wanted = Recipe(name="x", parts=(Part(name="d", shape="die"),), distractors=Distractors(folder="things"))
    assets = load_assets(wanted, root)
    return {mesh.name: mesh for mesh in assets.mesh_folders["things"]}, assets


def test_meshes_far_away_keep_their_shape_or_say_that_the_file_lost_it(tmp_path):
    things = tmp_path / "things"
    things.mkdir()
    (things / "near.obj").write_text(obj())
    (things / "far.obj").write_text(obj(CORNERS + FAR))
    stray = "v 0 0 0\n" + obj(CORNERS + FAR)
    for face, shifted in (("1 3 2", "2 4 3"), ("1 2 4", "2 3 5"), ("1 4 3", "2 5 4"), ("2 3 4", "3 4 5")):
        stray = stray.replace(f"f {face}", f"f {shifted}")
    (things / "stray.obj").write_text(stray)
    head = (
        "ply\nformat {} 1.0\nelement vertex 4\nproperty {} x\nproperty {} y\nproperty {} z\n"
        "element face 4\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = [f"{x:.4f} {y:.4f} {z:.4f}" for x, y, z in CORNERS + FAR] + [f"3 {a} {b} {c}" for a, b, c in FACES]
    (things / "text.ply").write_text(head.format("ascii", *["float"] * 3) + "\n".join(rows) + "\n")
    faces = b"".join(b"\3" + np.array(face, "<i4").tobytes() for face in FACES)
    double = (
        head.format("binary_little_endian", *["double"] * 3).encode()
        + (CORNERS + FAR).astype("<f8").tobytes()
    )
    (things / "double.ply").write_bytes(double + faces)
    single = (
        head.format("binary_little_endian", *["float"] * 3).encode() + (CORNERS + FAR).astype("<f4").tobytes()
    )
    (things / "lost.ply").write_bytes(single + faces)
    lines = ["vertex {:.4f} {:.4f} {:.4f}\n".format(*corner) for corner in CORNERS + FAR]
    facets = "".join(
        "facet normal 0 0 0\nouter loop\n" + "".join(lines[i] for i in face) + "endloop\nendfacet\n"
        for face in FACES
    )
    (things / "text.stl").write_text(f"solid tet\n{facets}endsolid tet\n")
    gltf(things / "node.gltf", FAR.tolist())
    move = f'double3 xformOp:translate = {tuple(FAR)}\nuniform token[] xformOpOrder = ["xformOp:translate"]\n'
    (things / "stage.usda").write_text(stage(f'def Xform "root" {{\n{move}{mesh()}\n}}'))
    gltf(things / "pair.gltf", FAR.tolist())
    pair = json.loads((things / "pair.gltf").read_text())
    pair["nodes"].append({"mesh": 0, "name": "lid", "translation": (FAR + np.array([1, 0, 0])).tolist()})
    pair["scenes"][0]["nodes"] = [0, 1]
    (things / "pair.gltf").write_text(json.dumps(pair))
    found, assets = load(tmp_path)
    near = found["near"].surface()
    assert near.volume == pytest.approx(1)
    assert set(found) == {"near", "far", "stray", "text", "double", "node", "stage"}
    for mesh_far in assets.mesh_folders["things"]:
        surface = mesh_far.surface()
        order = np.lexsort(surface.vertices.round(3).T)
        expected = near.vertices[np.lexsort(near.vertices.round(3).T)]
        # A millionth of the longest side, 3; in double, 4e7 by itself is known to 7e-9.
        np.testing.assert_allclose(surface.vertices[order], expected, atol=3e-6, err_msg=mesh_far.name)
        assert surface.volume == pytest.approx(1, rel=1e-5)
    assert [mesh.name for mesh in assets.mesh_folders["things"]].count("text") == 2
    lost, pair = assets.warnings  # of two nodes, the place of one to the other
    assert (
        "pair.gltf: expected a shape, got 2 objects whose places come in steps of 4 on a part that is" in pair
    )
    assert "lost.ply: expected a shape, got numbers in steps of 4 on a part that is" in lost


def test_every_file_that_is_read_belongs_to_the_mesh(tmp_path):
    """Nested references, sublayers, payloads of unchosen variants, packages, buffers, pictures."""
    things, deep = tmp_path / "things", tmp_path / "geometry" / "deep"
    things.mkdir()
    deep.mkdir(parents=True)
    (deep / "geo.usda").write_text(stage(f'def Xform "root" {{\n{mesh()}\n}}'))
    (deep.parent / "middle.usda").write_text(
        stage('def Xform "root" (references = @deep/geo.usda@</root>) {\n}')
    )
    (things / "nested.usda").write_text(
        stage('def Xform "root" (references = @../geometry/middle.usda@</root>) {\n}')
    )
    (things / "layered.usda").write_text("#usda 1.0\n(\n  subLayers = [@../geometry/deep/geo.usda@]\n)\n")
    variants = (
        'def Xform "root" (\n variants = { string size = "a" }\n prepend variantSets = "size"\n) {\n'
        ' variantSet "size" = {\n'
        '  "a" (references = @../geometry/deep/geo.usda@</root>) {}\n'
        '  "b" (prepend payload = @../geometry/other.usda@</root>) {}\n }\n}'
    )
    (tmp_path / "geometry" / "other.usda").write_text(stage(f'def Xform "root" {{\n{mesh(5)}\n}}'))
    (things / "variants.usda").write_text(stage(variants))
    with zipfile.ZipFile(things / "package.usdz", "w") as package:
        package.writestr(zipfile.ZipInfo("p.usda"), stage(f'def Xform "root" {{\n{mesh()}\n}}'))
    gltf(things / "a.gltf", [0, 0, 0])
    pictured = json.loads((things / "a.gltf").read_text()) | {"images": [{"uri": "wood.png"}]}
    (things / "a.gltf").write_text(json.dumps(pictured))
    (things / "wood.png").write_bytes(b"a picture")
    (things / "b.obj").write_text(obj(head="mtllib pipe\n"))  # nobody opens it
    os.mkfifo(things / "pipe")
    (things / "piped.usda").write_text(stage('def Xform "root" (references = @pipe@</root>) {\n}'))
    (things / "gone.usda").write_text(stage('def Xform "root" (references = @no.usda@</root>) {\n}'))
    names = {"nested", "layered", "variants", "package", "a", "b"}
    first, assets = load(tmp_path)
    assert set(first) == names
    assert all(found.surface().volume == pytest.approx(1) for found in first.values())
    gone, piped = assets.warnings
    assert f"gone.usda: expected {things / 'no.usda'}, which gone.usda refers to, got No such file" in gone
    assert f"{things / 'pipe'}, which piped.usda refers to, got a named pipe" in piped
    held = [sorted(json.loads(p.read_text())) for p in cache_folder().glob("*.json")]
    assert sorted(held) == [
        ["../geometry/deep/geo.usda"],
        ["../geometry/deep/geo.usda", "../geometry/middle.usda"],
        ["../geometry/deep/geo.usda", "../geometry/other.usda"],
        ["a.bin", "wood.png"],
    ]
    (things / "piped.usda").unlink()
    (things / "gone.usda").unlink()
    # All is known now: no Blender is asked.
    wanted = Recipe(name="x", parts=(Part(name="d", shape="die"),), distractors=Distractors(folder="things"))
    again = load_assets(wanted, tmp_path, python="/no/python")
    assert again.mesh_folders == assets.mesh_folders
    (deep / "geo.usda").write_text(stage(f'def Xform "root" {{\n{mesh(6)}\n}}'))
    (things / "wood.png").write_bytes(b"b picture")
    second, changed = load(tmp_path)
    assert {name for name in names if first[name].key != second[name].key} == {
        "nested",
        "layered",
        "variants",
        "a",
    }
    for name in ("nested", "layered", "variants"):
        assert second[name].surface().volume == pytest.approx(2)
    assert second["a"].surface().volume == pytest.approx(1)
    assert changed.digest != assets.digest
    (deep / "geo.usda").write_text(stage(f'def Xform "root" {{\n{mesh()}\n}}'))
    (things / "wood.png").write_bytes(b"a picture")
    assert load_assets(wanted, tmp_path, python="/no/python").digest == again.digest


def test_a_corner_that_is_no_number_is_refused_in_every_format(tmp_path):
    things = tmp_path / "things"
    things.mkdir()
    (things / "good.obj").write_text(obj())
    (things / "a.obj").write_text(obj().replace("v 0.0000 0.0000 0.0000", "v 0 nan 0"))
    (things / "b.usda").write_text(stage(f'def Xform "root" {{\n{mesh(corner="nan")}\n}}'))
    gltf(things / "c.gltf", [0, 0, 0], corner=np.inf)
    (things / "d.stl").write_bytes(
        bytes(80) + (1).to_bytes(4, "little") + np.full(12, np.nan, "<f4").tobytes() + bytes(2)
    )
    found, assets = load(tmp_path)
    assert set(found) == {"good"}
    told = [warning.partition("things/")[2] for warning in assets.warnings]
    assert told == [
        "a.obj: expected three finite numbers, got 0 nan 0 in line 1; correct it or export the file again",
        "b.usda: expected three finite numbers, got nan 0 0 at vertex 1 of 'tet'; correct it or export "
        "the file again",
        "c.gltf: expected three finite numbers, got inf 0 0 at vertex 1; correct it or export the file again",
        "d.stl: expected three finite numbers, got nan nan nan in triangle 1 of 1; correct it or export "
        "the file again",
    ]
