"""Mesh files of a recipe: found, checked, remembered; a stand-in imports them."""

import hashlib
import json
import os
import stat
import sys
import time

import numpy as np
import pytest
from support.recipe_files import fault, picture, recipe

from render.assets import importer
from render.assets.load import load_assets
from render.assets.meshcache import cache_folder, cached_mesh, stored_surface
from render.core.errors import AssetError, BlenderMissingError, WorkerError
from render.geometry.resting_poses import resting
from render.recipe.tables import Background, Camera, Component, Distractors, Part

#: Answers as `render.worker.importing.importing` does. A file holds boxes, one a line: name, then three
#: lengths.
STAND_IN = """
import hashlib, json, os, sys, time
import numpy as np
CORNERS = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
QUADS = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
TRIANGLES = np.array([t for a, b, c, d in QUADS for t in ((a, b, c), (a, c, d))])
for line in sys.stdin:
    asked = json.loads(line)
    open(LOG, "a").write(os.path.basename(asked["path"]) + "\\n")
    text = open(asked["path"]).read()
    if text.startswith("kill"):
        os.kill(os.getpid(), 9)
    if text.startswith("broken"):
        print(json.dumps({"broken": "not a mesh"}), flush=True)
        continue
    if text.startswith("refused"):
        print(json.dumps({"refused": ["a whole", "a half; export it again"]}), flush=True)
        continue
    if text.startswith("sleep"):
        time.sleep(60)
    beside = []
    if "refers" in text:  # to a file with the boxes
        name = text.strip('"}').split()[-1]
        text = open(os.path.join(os.path.dirname(asked["path"]), name)).read()
        beside = [(name, hashlib.sha256(text.encode()).hexdigest(), not name.endswith(".png"))]
    boxes = [line.split() for line in text.splitlines()]
    arrays = {}
    for number, (_, *sides) in enumerate(boxes):
        arrays[f"{number}.vertices"] = 7 + CORNERS * np.array(sides, float)
        arrays[f"{number}.triangles"] = TRIANGLES
    if boxes[0][0] == "dropped":
        arrays["landed"] = np.array([(0, 0, 1), (0, 0, 1), (0, 0, 1), (1, 0, 0)], float)
    np.savez(open(asked["out"], "wb"), **arrays)
    stated = {"unit_m": 0.01, "up": "y"} if asked["path"].endswith(".fbx") else {}
    remarks = ["something is ignored"] if boxes[0][0] == "remarked" else []
    answer = {"objects": [name for name, *_ in boxes], "declared": stated}
    answer |= {"companions": beside, "remarks": remarks}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AL_LOOP_MESH_CACHE", str(tmp_path / "cache"))
    stored_surface.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def stand_in(tmp_path):
    """The path of a "Python" that runs the stand-in; `stand_in.asked()`: the files it was asked for."""

    class StandIn:
        python = str(tmp_path / "python")

        def asked(self):
            log = tmp_path / "asked"
            names = log.read_text().split() if log.exists() else []
            log.unlink(missing_ok=True)
            return names

    (tmp_path / "stand_in.py").write_text(f"LOG = {str(tmp_path / 'asked')!r}\n{STAND_IN}")
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path / "stand_in.py"}"\n')
    (tmp_path / "python").chmod(stat.S_IRWXU)
    return StandIn()


def test_a_recipe_without_files_needs_nothing(tmp_path):
    assets = load_assets(recipe(), tmp_path, python="/no/python")
    assert (assets.meshes, assets.pictures, assets.digest, assets.warnings) == ({}, {}, "", ())
    assert not cache_folder().exists()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("up", "size"),
    [
        ("z", (0.01, 0.02, 0.03)),
        ("-z", (0.01, 0.02, 0.03)),
        ("y", (0.01, 0.03, 0.02)),
        ("-y", (0.01, 0.03, 0.02)),
        ("x", (0.03, 0.02, 0.01)),
        ("-x", (0.03, 0.02, 0.01)),
    ],
)
def test_units_and_up_make_metres_around_the_origin(tmp_path, stand_in, up, size):
    (tmp_path / "box.stl").write_text("box 1 2 3")
    part = Part(name="box", mesh="box.stl", units="cm", up=up)
    box = load_assets(recipe(part), tmp_path, python=stand_in.python).meshes["box.stl"]
    assert (box.name, box.components, box.longest_m) == ("box", ("",), pytest.approx(0.03))
    assert box.size_m == pytest.approx(size)
    surface = box.surface()
    np.testing.assert_allclose(surface.vertices.max(axis=0), np.array(size) / 2)
    np.testing.assert_allclose(surface.vertices.min(axis=0), -np.array(size) / 2)
    assert surface.volume == pytest.approx(6e-6)
    assert len(box.rests) == 6
    # However it is read, a box lies on its broadest side most often: the shortest length upright.
    turn = np.reshape(box.rests[0].rotation, (3, 3))
    assert np.ptp(surface.vertices @ turn.T, axis=0)[2] == pytest.approx(0.01)


@pytest.mark.integration
def test_a_file_is_imported_once_whatever_it_is_called(tmp_path, stand_in):
    (tmp_path / "a.stl").write_text("box 1 2 3")
    (tmp_path / "b.stl").write_text("box 1 2 3")
    parts = [Part(name=n, mesh=f"{n}.stl") for n in "ab"]
    first = load_assets(recipe(*parts), tmp_path, python=stand_in.python)
    assert stand_in.asked() == ["a.stl"]
    assert [first.meshes[n].name for n in ("a.stl", "b.stl")] == ["a", "b"]
    again = load_assets(recipe(*parts), tmp_path, python="/no/python")
    assert again == first
    (tmp_path / "a.stl").write_text("box 1 2 4")
    changed = load_assets(recipe(*parts), tmp_path, python=stand_in.python)
    assert stand_in.asked() == ["a.stl"]
    assert changed.digest != first.digest
    assert changed.meshes["a.stl"].size_m == pytest.approx((1, 2, 4))


@pytest.mark.integration
def test_a_damaged_cache_is_made_anew(tmp_path, stand_in, cache):
    (tmp_path / "a.stl").write_text("box 1 2 3")
    wanted = recipe(Part(name="a", mesh="a.stl"))
    first = load_assets(wanted, tmp_path, python=stand_in.python).meshes["a.stl"]
    held = cache / f"{first.key}.npz"
    held.write_bytes(held.read_bytes()[:-50])
    assert cached_mesh(first.key, "a") is None
    assert load_assets(wanted, tmp_path, python=stand_in.python).meshes["a.stl"] == first
    assert stand_in.asked() == ["a.stl", "a.stl"]
    assert [p.name for p in cache.iterdir()] == [held.name]
    held.unlink()
    with pytest.raises(AssetError, match="run the command again"):
        stored_surface(first.key, "")


def test_several_objects_are_components_and_settle_together(tmp_path, stand_in):
    (tmp_path / "car.obj").write_text("door 1 1 1\nroof 4 2 1")
    part = Part(name="car", mesh="car.obj", components={"roof": Component(category="roof")})
    car = load_assets(recipe(part), tmp_path, python=stand_in.python).meshes["car.obj"]
    assert (car.components, car.size_m) == (("door", "roof"), pytest.approx((4, 2, 1)))
    np.testing.assert_allclose(car.surface("door").vertices.min(axis=0), (-2, -1, -0.5))
    np.testing.assert_allclose(np.ptp(car.surface("door").vertices, axis=0), (1, 1, 1))
    assert car.surface().volume == pytest.approx(9)
    with pytest.raises(AssetError, match="expected one of the components door, roof, got 'lid'"):
        car.surface("lid")
    message = fault(recipe(Part(name="car", mesh="car.obj", components={"lid": Component()})), tmp_path)
    assert "parts[0].components.lid: expected one of 'door', 'roof'" in message


def test_the_centre_of_mass_is_that_of_the_solid(tmp_path, stand_in):
    """A foot of volume 8 and a stem of volume 1 in one corner, in a bounding box of side 4."""
    (tmp_path / "l.obj").write_text("foot 4 4 0.5\nstem 0.5 0.5 4")
    mesh = load_assets(recipe(Part(name="l", mesh="l.obj")), tmp_path, python=stand_in.python).meshes["l.obj"]
    centre = (8 * np.array((2, 2, 0.25)) + 1 * np.array((0.25, 0.25, 2))) / 9 - 2
    by_hand = resting(mesh.surface().vertices, centre)
    assert [r.weight for r in mesh.rests] == pytest.approx([r.weight for r in by_hand])
    hull = resting(mesh.surface().vertices)
    assert abs(mesh.rests[0].weight - hull[0].weight) > 0.02


def test_how_it_came_to_lie_is_turned_upright_with_the_mesh_and_kept(tmp_path, stand_in):
    (tmp_path / "box.stl").write_text("dropped 1 2 3")
    wanted = recipe(Part(name="box", mesh="box.stl", up="y"))
    for python in (stand_in.python, "/no/python"):
        rests = load_assets(wanted, tmp_path, python=python).meshes["box.stl"].rests
        assert [r.weight for r in rests] == [0.75, 0.25]
        # With y up, the file's z, which pointed up three times of four, is -y of the mesh.
        upwards = [np.reshape(r.rotation, (3, 3))[2] for r in rests]
        np.testing.assert_allclose(upwards, [(0, -1, 0), (1, 0, 0)], atol=1e-9)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("units", "length", "advice"),
    [
        ("m", 250, 'give units = "mm" (0.25 m) or units = "cm" (2.5 m) or units = "in" (6.35 m)'),
        ("mm", 0.05, 'give units = "m" (0.05 m) or units = "in" (0.00127 m) or units = "cm" (0.0005 m)'),
        ("m", 1e9, "give its true length as size_m"),
    ],
)
def test_nonsense_units(tmp_path, stand_in, units, length, advice):
    (tmp_path / "a.stl").write_text(f"box 0.01 0.01 {length}")
    part = Part(name="a", mesh="a.stl", units=units)
    message = fault(recipe(part), tmp_path, stand_in.python)
    assert "parts[0].mesh" in message
    assert "expected a longest side of 0.0001 to 100 m" in message
    assert advice in message
    sized = Part(name="a", mesh="a.stl", units=units, size_m=0.1)
    assert load_assets(recipe(sized), tmp_path).meshes["a.stl"].name == "a"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.obj", None, "expected a mesh file, got nothing there"),
        ("folder.obj", "", "expected a mesh file, got a folder"),
        ("empty.obj", b"", "got an empty file"),
        ("part.step", b"x", "expected one of .obj, .stl"),
        ("bad.stl", b"broken", "expected a mesh that Blender can import, got 'not a mesh'"),
        ("dead.stl", b"kill", "Blender ended with signal 9 while reading it"),
        ("bad.gltf", b"{", "expected glTF (JSON)"),
        ("alone.gltf", b'{"buffers": [{"uri": "no%20such.bin"}]}', "no such.bin, got No such file"),
        ("flat.stl", b"", "got an empty file"),
        ("no-faces.ply", b"\n", "could not"),
    ],
)
def test_a_bad_mesh_is_one_clear_error(tmp_path, stand_in, name, content, said):
    if content == "":
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    if name == "no-faces.ply":
        (tmp_path / "stand_in.py").write_text(
            'import json, sys\nimport numpy as np\nnp.savez(json.loads(input())["out"])\n'
            'print(json.dumps({"objects": [], "declared": {}}))'
        )
        said = "expected faces with an area, got none"
    message = fault(recipe(Part(name="a", mesh=name)), tmp_path, stand_in.python)
    assert f"parts[0].mesh = {tmp_path / name}: " in message
    assert said in message
    assert "\n" not in message


def test_two_parts_read_one_file_alike(tmp_path, stand_in):
    (tmp_path / "a.stl").write_text("box 1 2 3")
    parts = (Part(name="a", mesh="a.stl"), Part(name="b", mesh="a.stl", units="mm"))
    assert 'expected units = "m" and up = "z" as at parts[0].mesh, got "mm"' in fault(
        recipe(*parts), tmp_path
    )


@pytest.mark.integration
def test_a_file_that_says_otherwise_of_itself_is_warned_of(tmp_path, stand_in):
    (tmp_path / "a.fbx").write_text("box 1 2 3")
    assets = load_assets(recipe(Part(name="a", mesh="a.fbx")), tmp_path, python=stand_in.python)
    assert assets.warnings == (
        'parts[0].up = "z": a.fbx itself says "y"',
        'parts[0].units = "m": a.fbx itself says 0.01 m',
    )
    right = Part(name="a", mesh="a.fbx", units="cm", up="y")
    assert load_assets(recipe(right), tmp_path, python=stand_in.python).warnings == ()


@pytest.mark.integration
def test_a_folder_of_distractors_leaves_out_what_is_broken(tmp_path, stand_in):
    for name, text in (
        ("b.stl", "box 1 1 1"),
        ("a.stl", "kill"),
        ("c.ply", "box 5000 1 1"),
        ("d.obj", "broken"),
    ):
        (tmp_path / "things").mkdir(exist_ok=True)
        (tmp_path / "things" / name).write_text(text)
    wanted = recipe(distractors=Distractors(folder="things"))
    assets = load_assets(wanted, tmp_path, python=stand_in.python)
    assert [mesh.name for mesh in assets.mesh_folders["things"]] == ["b", "c"]
    assert stand_in.asked() == ["a.stl", "b.stl", "c.ply", "d.obj"]
    assert len(assets.warnings) == 2
    assert "a.stl: expected a mesh that Blender can import" in assets.warnings[0]
    assert "d.obj" in assets.warnings[1]


def test_a_folder_without_a_mesh(tmp_path, stand_in):
    wanted = recipe(distractors=Distractors(folder="things"))
    assert "distractors.folder" in (message := fault(wanted, tmp_path))
    assert "expected a folder of mesh files, got nothing there" in message
    (tmp_path / "things").mkdir()
    assert "expected files .obj, .stl" in fault(wanted, tmp_path)
    (tmp_path / "things" / "a.stl").write_text("broken")
    assert "expected a mesh that can be used, got none" in fault(wanted, tmp_path, stand_in.python)


def test_a_python_without_blender_or_that_is_none(tmp_path):
    (tmp_path / "a.stl").write_text("box 1 2 3")
    wanted = recipe(Part(name="a", mesh="a.stl"))
    with pytest.raises(WorkerError, match="cannot run /no/python"):
        load_assets(wanted, tmp_path, python="/no/python")
    bare = tmp_path / "bare"
    bare.write_text('#!/bin/sh\nread line\necho \'{"missing": "No module named bpy"}\'\n')
    bare.chmod(stat.S_IRWXU)
    with pytest.raises(BlenderMissingError, match=r"import a.stl, got .*: No module named bpy"):
        load_assets(wanted, tmp_path, python=str(bare))
    bare.write_text("#!/bin/sh\necho 'no module named msgspec' >&2\nexit 1\n")
    with pytest.raises(WorkerError, match=r"cannot run the mesh importer .no module named msgspec"):
        load_assets(wanted, tmp_path, python=str(bare))
    bare.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'msgspec'\" >&2\nexit 1\n")
    with pytest.raises(BlenderMissingError, match=r"import meshes, got .*msgspec.*pip install 'bpy"):
        load_assets(wanted, tmp_path, python=str(bare))


def test_a_cache_that_cannot_be_written(tmp_path, stand_in, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AL_LOOP_MESH_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "a.stl").write_text("box 1 2 3")
    assert "AL_LOOP_MESH_CACHE" in fault(recipe(Part(name="a", mesh="a.stl")), tmp_path, stand_in.python)


@pytest.mark.integration
def test_a_file_that_another_refers_to_belongs_to_the_mesh(tmp_path, stand_in, cache):
    """The same file in two folders, beside different ones, is two meshes; both are kept, and known again."""
    for folder, height in (("a", 3), ("b", 5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.usda").write_text("refers geo.usda")
        (tmp_path / folder / "geo.usda").write_text(f"box 1 2 {height}")
    parts = [Part(name=n, mesh=f"{n}/m.usda") for n in "ab"]
    first = load_assets(recipe(*parts), tmp_path, python=stand_in.python)
    assert [first.meshes[f"{n}/m.usda"].size_m[2] for n in "ab"] == [3, 5]
    assert stand_in.asked() == ["m.usda", "m.usda"]
    assert load_assets(recipe(*parts), tmp_path, python="/no/python") == first
    # The same size and the same date.
    seen = (tmp_path / "a" / "geo.usda").stat()
    (tmp_path / "a" / "geo.usda").write_text("box 1 2 4")
    os.utime(tmp_path / "a" / "geo.usda", ns=(seen.st_atime_ns, seen.st_mtime_ns))
    changed = load_assets(recipe(*parts), tmp_path, python=stand_in.python)
    assert [changed.meshes[f"{n}/m.usda"].size_m[2] for n in "ab"] == [4, 5]
    assert not changed.accepts(first.digest)
    (tmp_path / "a" / "geo.usda").write_text("box 1 2 3")
    assert load_assets(recipe(*parts), tmp_path, python="/no/python") == first
    (tmp_path / "moved").mkdir()
    (tmp_path / "a").rename(tmp_path / "moved" / "a")
    (tmp_path / "b").rename(tmp_path / "moved" / "b")
    assert load_assets(recipe(*parts), tmp_path / "moved", python="/no/python").digest == first.digest


@pytest.mark.integration
def test_a_mesh_by_itself_keeps_the_key_that_earlier_versions_gave_it(tmp_path, stand_in, cache):
    """Datasets that they have rendered go on; what they had in the cache is looked at once more."""
    (tmp_path / "a.stl").write_text("box 1 2 3")
    settings = '{"dropped": true, "format": 2, "suffix": ".stl", "units": "m", "up": "z"}'
    content = hashlib.sha256(b"box 1 2 3").digest()
    key = hashlib.sha256(settings.encode() + content).hexdigest()
    wanted = recipe(Part(name="a", mesh="a.stl"))
    mesh = load_assets(wanted, tmp_path, python=stand_in.python).meshes["a.stl"]
    assert mesh.key == mesh.before == key
    held = dict(np.load(cache / f"{key}.npz"))
    about = json.loads(str(held["about"]))
    held["about"] = np.array(json.dumps({k: about[k] for k in ("components", "size_m", "stated")}))
    np.savez(cache / f"{key}.npz", **held)
    assert cached_mesh(key, "a") is None
    assert load_assets(wanted, tmp_path, python=stand_in.python).meshes["a.stl"] == mesh


@pytest.mark.integration
def test_pictures_that_do_not_shape_a_mesh_refuse_no_dataset_of_earlier_versions(tmp_path, stand_in):
    (tmp_path / "a.gltf").write_text('{"asset": "refers-picture wood.png"}')
    (tmp_path / "wood.png").write_text("box 1 2 3")
    wanted = recipe(Part(name="a", mesh="a.gltf", up="y"))
    first = load_assets(wanted, tmp_path, python=stand_in.python)
    mesh = first.meshes["a.gltf"]
    assert mesh.before != mesh.key
    old = hashlib.sha256(json.dumps({"mesh a.gltf": mesh.before}).encode()).hexdigest()
    assert first.accepts(old)
    (tmp_path / "wood.png").write_text("box 1 2 4")
    second = load_assets(wanted, tmp_path, python=stand_in.python)
    assert not second.accepts(first.digest)
    assert second.accepts(old)


def test_special_files_are_refused_and_not_waited_for(tmp_path, stand_in):
    (tmp_path / "things").mkdir()
    os.mkfifo(tmp_path / "things" / "pipe.stl")
    wanted = Part(name="a", mesh="things/pipe.stl")
    assert "pipe.stl, got a named pipe, expected a regular file" in fault(recipe(wanted), tmp_path)
    (tmp_path / "zero.obj").symlink_to("/dev/zero")
    assert "/dev/zero: expected one of .obj" in fault(recipe(Part(name="a", mesh="zero.obj")), tmp_path)
    (tmp_path / "things" / "a.stl").write_text("box 1 1 1")
    assets = load_assets(recipe(distractors=Distractors(folder="things")), tmp_path, python=stand_in.python)
    assert [mesh.name for mesh in assets.mesh_folders["things"]] == ["a"]
    assert "pipe.stl: expected a mesh file, got something else than a regular file" in assets.warnings[0]


def test_a_file_that_is_too_large_is_not_read(tmp_path, stand_in, monkeypatch):
    (tmp_path / "a.stl").write_text("box 1 2 3")
    os.truncate(tmp_path / "a.stl", 2**31 + 1)
    assert "expected at most 2" in fault(recipe(Part(name="a", mesh="a.stl")), tmp_path)


@pytest.mark.integration
def test_a_file_that_takes_for_ever_ends_by_itself_and_the_others_go_on(tmp_path, stand_in, monkeypatch):
    monkeypatch.setattr(importer, "START_S", 0.0)
    monkeypatch.setattr(importer, "FILE_S", 3.0)
    (tmp_path / "things").mkdir()
    for name, text in (("a", "box 1 1 1"), ("b", "sleep"), ("c", "box 1 1 2")):
        (tmp_path / "things" / f"{name}.stl").write_text(text)
    assets = load_assets(recipe(distractors=Distractors(folder="things")), tmp_path, python=stand_in.python)
    assert [mesh.name for mesh in assets.mesh_folders["things"]] == ["a", "c"]
    assert (
        "b.stl: expected a mesh that Blender can import, got 'Blender did not read it within 3 s'"
        in assets.warnings[0]
    )


@pytest.mark.integration
def test_what_the_importer_refuses_or_remarks_is_told(tmp_path, stand_in):
    (tmp_path / "a.stl").write_text("refused")
    message = fault(recipe(Part(name="a", mesh="a.stl")), tmp_path, stand_in.python)
    assert message == f"parts[0].mesh = {tmp_path / 'a.stl'}: expected a whole, got a half; export it again"
    (tmp_path / "b.stl").write_text("remarked 1 1 1")
    wanted = recipe(Part(name="b", mesh="b.stl", size_m=0.1))
    for python in (stand_in.python, "/no/python"):  # from the cache, too
        told = load_assets(wanted, tmp_path, python=python).warnings
        assert told == (f"parts[0].mesh = {tmp_path / 'b.stl'}: something is ignored",)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("length", "units", "view", "said"),
    [
        (60, "m", 0.25, 'is 60 m long as read (units = "m"), and the cameras see 0.25 m; if the file is '
                        'in mm, write units = "mm" (0.06 m)'),
        (60, "m", None, 'is 60 m long as read (units = "m"); if the file is in mm, write units = "mm" '
                        '(0.06 m)'),
        (3, "m", 0.25, 'is 3 m long'),
        (3, "m", 1.0, ""),
        (0.3, "mm", 0.25, 'is 0.0003 m long as read (units = "mm"), and the cameras see 0.25 m; if the '
                          'file is in m, write units = "m" (0.3 m)'),
        (60, "mm", 0.25, ""),
    ],
)  # fmt: skip
def test_a_length_that_no_camera_would_see_is_asked_about(tmp_path, stand_in, length, units, view, said):
    (tmp_path / "a.stl").write_text(f"box {length} {length / 10} {length / 10}")
    cameras = (Camera(view_m=view) if view else Camera(distance_m=1.0),)
    wanted = recipe(Part(name="a", mesh="a.stl", units=units), cameras=cameras)
    warnings = load_assets(wanted, tmp_path, python=stand_in.python).warnings
    assert len(warnings) == bool(said)
    assert said in " ".join(warnings)


def test_drafts_of_killed_processes_are_swept(tmp_path, stand_in, cache):
    cache.mkdir()
    for name, age in (("old.1.partial", 7200), ("new.2.partial", 10)):
        (cache / name).write_text("half")
        os.utime(cache / name, (time.time() - age,) * 2)
    (tmp_path / "a.stl").write_text("box 1 2 3")
    picture(tmp_path / "photos" / "a.png")
    wanted = recipe(Part(name="a", mesh="a.stl"), background=Background(folder="photos"))
    load_assets(wanted, tmp_path, python=stand_in.python)
    assert sorted(p.suffix for p in cache.iterdir()) == [".json", ".npz", ".partial"]
    assert (cache / "new.2.partial").exists()


def test_the_importer_holds_nothing_of_who_called_it_open(tmp_path):
    there, here = os.pipe()
    os.set_inheritable(here, True)
    script = tmp_path / "python"
    script.write_text(
        f"#!/bin/sh\nif [ -e /proc/self/fd/{here} ]; then echo open >&2; else echo closed >&2; fi\nexit 1\n"
    )
    script.chmod(stat.S_IRWXU)
    (tmp_path / "a.stl").write_text("box 1 2 3")
    with pytest.raises(WorkerError, match=r"the mesh importer .closed"):
        load_assets(recipe(Part(name="a", mesh="a.stl")), tmp_path, python=str(script))
    os.close(here)
    os.close(there)
