"""Imported meshes on disk: found again, damaged, older, or not to be written."""

import json
import os
import time

import numpy as np
import pytest
from support.recipe_files import fault, picture, recipe

from render.assets.load import load_assets
from render.assets.meshcache import cached_mesh, stored_surface
from render.core.errors import AssetError
from render.recipe.tables import Background, Part


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


@pytest.mark.integration
def test_an_entry_of_an_earlier_version_is_made_anew(tmp_path, stand_in, cache):
    (tmp_path / "a.stl").write_text("box 1 2 3")
    wanted = recipe(Part(name="a", mesh="a.stl"))
    mesh = load_assets(wanted, tmp_path, python=stand_in.python).meshes["a.stl"]
    held = dict(np.load(cache / f"{mesh.key}.npz"))
    held["about"] = np.array(json.dumps({"entry": 1, "components": [""], "size_m": [1, 2, 3]}))
    np.savez(cache / f"{mesh.key}.npz", **held)
    assert cached_mesh(mesh.key, "a") is None
    assert load_assets(wanted, tmp_path, python=stand_in.python).meshes["a.stl"] == mesh


@pytest.mark.integration
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
    assert changed.digest != first.digest
    (tmp_path / "a" / "geo.usda").write_text("box 1 2 3")
    assert load_assets(recipe(*parts), tmp_path, python="/no/python") == first
    (tmp_path / "moved").mkdir()
    (tmp_path / "a").rename(tmp_path / "moved" / "a")
    (tmp_path / "b").rename(tmp_path / "moved" / "b")
    assert load_assets(recipe(*parts), tmp_path / "moved", python="/no/python").digest == first.digest


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
