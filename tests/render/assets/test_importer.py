"""The process that imports meshes: missing, broken, too slow, and what it says; a stand-in plays it."""

import stat

import pytest
from support.recipe_files import fault, recipe

from render.assets import importer
from render.assets.load import load_assets
from render.core.errors import BlenderMissingError, WorkerError
from render.recipe.tables import Distractors, Part


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


@pytest.mark.integration
def test_a_file_that_takes_for_ever_ends_by_itself_and_the_others_go_on(tmp_path, stand_in, monkeypatch):
    monkeypatch.setattr(importer, "START_S", 0.0)
    monkeypatch.setattr(importer, "FILE_S", 3.0)
    (tmp_path / "things").mkdir()
    for name, text in (("a", "box 1 1 1"), ("b", "sleep"), ("c", "box 1 1 2")):
        (tmp_path / "things" / f"{name}.stl").write_text(text)
    assets = load_assets(recipe(distractors=Distractors(folder="things")), tmp_path, python=stand_in.python)
    assert [mesh.name for mesh in assets.mesh_folders["things"]] == ["a", "c"]
    assert "b.stl: expected a mesh that Blender can import, got 'no answer within 3 s'" in assets.warnings[0]


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
