"""Pictures, textures and lamps of a recipe: found, checked, remembered."""

import os

import pytest
from support.recipe_files import fault, picture, recipe

from render.assets.load import load_assets
from render.core.errors import RecipeError
from render.recipe.load import load_recipe
from render.recipe.tables import Background, Component, Defect, Defects, Lamps, Light, Material, Part, Stage

LAMP = "IESNA:LM-63-2002\nTILT=NONE\n1 1000 1 2 1 1 2 0 0 0\n1 1 100\n0 90\n0\n5 5\n"


def test_every_folder_of_a_recipe_is_found(tmp_path):
    for name in ("photos/b.jpg", "photos/sub/c.png", "photos/a.webp", "sky/s.bmp", "floor/f.tif"):
        picture(tmp_path / name)
    for name in ("rust_col.png", "rust_rough.png", "paint.png"):
        picture(tmp_path / "looks" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    picture(tmp_path / "photos" / ".hidden.jpg")
    (tmp_path / "lamp.ies").write_text(LAMP)
    flaw = Defect(kind="burn", material=Material(kind="image", folder="looks/paint.png"))
    assets = load_assets(
        recipe(
            Part(name="die", shape="die", materials=(Material(kind="pbr", folder="looks"),)),
            background=Background(folder="photos"),
            stage=Stage(folder="floor"),
            light=Light(sky_folder="sky", lamps=(Lamps(ies="lamp.ies"),)),
            defects=Defects(kinds=(flaw,)),
        ),
        tmp_path,
    )
    photos = [p.relative_to(tmp_path / "photos").as_posix() for p in assets.pictures["photos"]]
    assert photos == ["a.webp", "b.jpg", "sub/c.png"]
    assert assets.pictures["sky"] == (tmp_path / "sky" / "s.bmp",)
    assert assets.files == {"lamp.ies": tmp_path / "lamp.ies"}
    looks = {s.name: sorted(s.images) for s in assets.textures["looks"]}
    assert looks == {"paint": ["colour"], "rust": ["colour", "roughness"]}
    assert assets.textures["looks/paint.png"][0].images == {"colour": tmp_path / "looks" / "paint.png"}
    assert [s.name for s in assets.textures["floor"]] == ["f"]
    assert assets.warnings == ()


def test_unreadable_pictures_are_left_out_and_named(tmp_path):
    for name in ("good.jpg", "cut.jpg", "cut.png"):
        picture(tmp_path / "p" / name)
    for name in ("cut.jpg", "cut.png"):
        whole = (tmp_path / "p" / name).read_bytes()
        (tmp_path / "p" / name).write_bytes(whole[: len(whole) * 3 // 4])
    (tmp_path / "p" / "text.jpg").write_text("no picture")
    (tmp_path / "p" / "fake.exr").write_text("no picture")
    (tmp_path / "p" / "sky.exr").write_bytes(b"\x76\x2f\x31\x01and so on")
    (tmp_path / "p" / "sky.hdr").write_bytes(b"#?RADIANCE\n")
    wanted = recipe(background=Background(folder="p"))
    assets = load_assets(wanted, tmp_path)
    assert [p.name for p in assets.pictures["p"]] == ["good.jpg", "sky.exr", "sky.hdr"]
    assert [w.split(": left out")[0].rsplit("/", 1)[1] for w in assets.warnings] == [
        "cut.jpg", "cut.png", "fake.exr", "text.jpg",
    ]  # fmt: skip
    # What is wrong with a picture is remembered, as is what is in it.
    assert load_assets(wanted, tmp_path) == assets


def test_an_empty_folder_is_meant_only_for_the_background(tmp_path):
    (tmp_path / "p").mkdir()
    assert load_assets(recipe(background=Background(folder="p")), tmp_path).pictures == {"p": ()}
    for key, wanted in {
        "stage.folder": recipe(stage=Stage(folder="p")),
        "light.sky_folder": recipe(light=Light(sky_folder="p")),
        "parts[0].materials[0].folder": recipe(
            Part(name="die", shape="die", materials=(Material(kind="image", folder="p"),))
        ),
    }.items():
        assert f"{key} = {tmp_path / 'p'}: expected pictures .jpg" in fault(wanted, tmp_path)
    (tmp_path / "p" / "a.png").write_text("no picture")
    assert "1 that cannot be read" in fault(recipe(background=Background(folder="p")), tmp_path)
    assert "got nothing there" in fault(recipe(background=Background(folder="q")), tmp_path)


def test_a_textured_material_needs_its_folder(tmp_path):
    part = Part(name="a", shape="die", components={"top": Component(materials=(Material(kind="pbr"),))})
    assert "parts[0].components.top.materials[0].folder: expected a picture" in fault(recipe(part), tmp_path)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), (b"lamp", "expected an IESNA LM-63 file")]
)
def test_a_bad_lamp(tmp_path, content, said):
    if content is not None:
        (tmp_path / "l.ies").write_bytes(content)
    message = fault(recipe(light=Light(lamps=(Lamps(), Lamps(ies="l.ies")))), tmp_path)
    assert "light.lamps[1].ies" in message
    assert said in message


def test_the_digest_follows_content_and_names_and_nothing_else(tmp_path):
    wanted = recipe(background=Background(folder="p"))
    digests = []

    def look(root):
        digests.append(load_assets(wanted, root).digest)
        return digests[-1]

    picture(tmp_path / "1" / "p" / "a.png", 10)
    first = look(tmp_path / "1")
    picture(tmp_path / "2" / "p" / "a.png", 10)
    assert look(tmp_path / "2") == first
    (tmp_path / "2" / "p" / "notes.txt").write_text("no picture")
    os.utime(tmp_path / "2" / "p" / "a.png", (1, 1))
    assert look(tmp_path / "2") == first
    picture(tmp_path / "2" / "p" / "b.png", 10)
    second = look(tmp_path / "2")
    picture(tmp_path / "2" / "p" / "b.png", 11)
    third = look(tmp_path / "2")
    (tmp_path / "2" / "p" / "b.png").rename(tmp_path / "2" / "p" / "c.png")
    assert len({first, second, third, look(tmp_path / "2")}) == 4


def test_a_known_picture_is_not_read_again(tmp_path, monkeypatch):
    picture(tmp_path / "p" / "a.png")
    wanted = recipe(background=Background(folder="p"))
    first = load_assets(wanted, tmp_path)
    monkeypatch.setattr("render.assets.image_folders._fault", lambda path: pytest.fail("read again"))
    assert load_assets(wanted, tmp_path) == first
    monkeypatch.undo()


def test_a_picture_put_in_the_place_of_another_is_read_though_size_and_date_are_the_same(tmp_path):
    """As `cp -p` or an archive leaves it; PNGs of one grey each have the same size."""
    path = tmp_path / "photos" / "a.png"
    picture(path, 100)
    seen = path.stat()
    wanted = recipe(background=Background(folder="photos"))
    first = load_assets(wanted, tmp_path)
    path.unlink()
    picture(path, 101)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (seen.st_size, seen.st_mtime_ns)
    assert load_assets(wanted, tmp_path).digest != first.digest


def test_special_files_are_named_and_not_waited_for(tmp_path):
    photos = tmp_path / "photos"
    picture(photos / "a.png")
    for name in ("b.png", "c.hdr"):
        os.mkfifo(photos / name)
    assets = load_assets(recipe(background=Background(folder="photos")), tmp_path)
    assert [path.name for path in assets.pictures["photos"]] == ["a.png"]
    assert [warning.partition("photos/")[2] for warning in assets.warnings] == [
        "b.png: left out: expected a picture, got a named pipe, expected a regular file",
        "c.hdr: left out: expected a picture, got a named pipe, expected a regular file",
    ]
    os.mkfifo(tmp_path / "lamp.ies")
    message = fault(recipe(light=Light(lamps=(Lamps(kind="point", ies="lamp.ies"),))), tmp_path)
    assert f"light.lamps[0].ies: expected an IES file at {tmp_path / 'lamp.ies'}, got a named pipe" in message
    os.mkfifo(tmp_path / "recipe.toml")
    with pytest.raises(
        RecipeError, match=r"recipe\.toml: cannot be read: a named pipe, expected a regular file"
    ):
        load_recipe(tmp_path / "recipe.toml")
    (tmp_path / "large.toml").write_text("")
    os.truncate(tmp_path / "large.toml", 2**24 + 1)
    with pytest.raises(RecipeError, match="expected at most 16"):
        load_recipe(tmp_path / "large.toml")
