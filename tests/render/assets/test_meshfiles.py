"""Mesh files of a recipe: units, axes, components, poses, and what is wrong; a stand-in imports them."""

import os

import numpy as np
import pytest
from support.recipe_files import fault, recipe

from render.assets.load import load_assets
from render.assets.meshcache import cache_folder
from render.core.errors import AssetError
from render.geometry.resting_poses import resting
from render.recipe.tables import Camera, Component, Distractors, Part


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
        ("dead.stl", b"kill", "ended by signal 9 (killed from outside"),
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
            'print(json.dumps({"objects": []}))'
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
    assert "pipe.stl, got a named pipe, expected a regular file" in assets.warnings[0]


def test_a_file_that_is_too_large_is_not_read(tmp_path, stand_in, monkeypatch):
    (tmp_path / "a.stl").write_text("box 1 2 3")
    os.truncate(tmp_path / "a.stl", 2**31 + 1)
    assert "expected at most 2" in fault(recipe(Part(name="a", mesh="a.stl")), tmp_path)


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
