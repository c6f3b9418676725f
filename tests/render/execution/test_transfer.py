"""A scene on its way to another machine."""

from __future__ import annotations

import msgspec

from render import parse_recipe, plan
from render.assets.load import Assets
from render.core.spec import MeshSpec
from render.execution.transfer import packed, unpacked

RECIPE = parse_recipe({"name": "x", "parts": [{"name": "cube", "shape": "box", "size_m": 0.02}]})


def test_a_scene_travels_with_its_files_once(tmp_path, monkeypatch):
    """A texture and an imported mesh: sent with the first scene, found in the other machine's folder."""
    monkeypatch.setenv("AL_LOOP_MESH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "ab12.npz").write_bytes(b"mesh")
    texture = tmp_path / "wood.png"
    texture.write_bytes(b"texture")
    spec = plan(RECIPE, Assets(), 0, 0)
    replace = msgspec.structs.replace
    part = spec.objects[0]
    images = {"colour": str(texture), "height": str(tmp_path / "gone.png")}
    part = replace(part, mesh=MeshSpec(file="ab12"), material=replace(part.material, images=images))
    spec = replace(spec, objects=(part, *spec.objects[1:]))
    data, files = packed(spec, ())
    assert sorted(files.values()) == [b"mesh", b"texture"]
    assert files["ab12.npz"] == b"mesh"
    folder = tmp_path / "node"
    received = unpacked(data, folder)
    path = received.objects[0].material.images["colour"]
    assert path.startswith(str(folder))
    assert path.endswith(".png")
    assert files[path.removeprefix(f"{folder}/")] == b"texture"
    # All else is unchanged.
    assert replace(received, objects=()) == replace(spec, objects=())
    assert received.objects[1:] == spec.objects[1:]
    assert packed(spec, files.keys())[1] == {}
