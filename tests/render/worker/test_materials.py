"""Materials in the real Blender, on pictures of a few pixels, against arithmetic."""

import math

import numpy as np
import pytest
from PIL import Image

bpy = pytest.importorskip("bpy")

from support.lit_plate import Booth, sun, wear  # noqa: E402

from render.core.errors import AssetError  # noqa: E402
from render.core.spec import DefectSpec, LightSpec, MaterialSpec  # noqa: E402
from render.worker.materials.material_families import MATERIAL_FAMILIES, build_embedded  # noqa: E402
from render.worker.materials.nodes import SurfaceSockets  # noqa: E402

pytestmark = pytest.mark.render

RED, BLUE, GREY = (0.6, 0.05, 0.05), (0.05, 0.05, 0.6), (0.5, 0.5, 0.5)


@pytest.fixture
def booth(tmp_path):
    return Booth(tmp_path)


# ---- materials -------------------------------------------------------------------------------------------


def test_a_metal_reflects_its_colour_of_an_even_light(booth):
    booth.plate(MaterialSpec("metal", {"body": (0.8, 0.4, 0.2)}, {"roughness": 0.2}))
    # Looked at straight on, a metal reflects its own colour of what it sees, and here it sees 1 everywhere.
    assert booth.shoot(16).mean(axis=(0, 1)) == pytest.approx([0.8, 0.4, 0.2], abs=0.02)


def test_things_of_one_kind_share_a_material_and_keep_their_own_colours(booth):
    left = booth.plate(MaterialSpec("plastic", {"body": RED}), width=0.5, x=-0.25)
    right = booth.plate(MaterialSpec("plastic", {"body": BLUE}), width=0.5, x=0.25)
    assert left.material_slots[0].material == right.material_slots[0].material
    picture = booth.shoot()[8:16]
    red, blue = picture[:, 2:10].mean(axis=(0, 1)), picture[:, 14:22].mean(axis=(0, 1))
    assert red[0] > 3 * red[2]
    assert blue[2] > 3 * blue[0]


def test_what_is_not_wanted_is_not_compiled(booth):
    plain = booth.plate(MaterialSpec("metal", {}, {"rust": 0.0})).material_slots[0].material
    rusty = booth.plate(MaterialSpec("metal", {}, {"rust": 0.4})).material_slots[0].material
    assert plain != rusty
    assert len(plain.node_tree.nodes) < len(rusty.node_tree.nodes)


@pytest.mark.parametrize("kind", MATERIAL_FAMILIES)
def test_shared_values_and_constants_make_the_same_picture(booth, kind):
    numbers = {"grain_m": 0.1, "wear": 0.5, "rust": 0.5, "bump": 0.5, "marble": 0.7, "metallic": 0.4}
    spec = MaterialSpec(kind, {"body": RED, "second": BLUE, "accent": GREY}, numbers, seed=5.0)
    thing = booth.plate(spec)
    shared = booth.shoot()
    wear(thing, lambda n: build_embedded(n, spec))
    # Blender may compile a constant into other arithmetic than a value read while it renders.
    assert np.abs(booth.shoot() - shared).mean() < 2e-3
    assert shared.mean() > 0.001


def test_patterns_are_as_large_as_their_grain_whatever_the_mesh_is_measured_in(booth):
    spec = MaterialSpec("stage-speckle", {"body": RED, "second": BLUE}, {"grain_m": 0.15, "grain": 1.0})
    thing = booth.plate(spec)
    in_metres = booth.shoot()
    bpy.data.objects.remove(thing)
    thing = booth.plate(spec, unit=0.02)
    assert np.abs(booth.shoot() - in_metres).mean() < 1e-3
    bpy.data.objects.remove(thing)
    booth.plate(MaterialSpec("stage-speckle", spec.colours, {"grain_m": 0.3, "grain": 1.0}))
    assert np.abs(booth.shoot() - in_metres).mean() > 0.02


def test_the_seed_moves_the_pattern(booth):
    pictures = []
    for seed in (0.0, 1.0):
        thing = booth.plate(MaterialSpec("rust", {}, {"grain_m": 0.05}, seed=seed))
        pictures.append(booth.shoot())
        bpy.data.objects.remove(thing)
    assert np.abs(pictures[0] - pictures[1]).mean() > 0.01


def test_rust_covers_about_the_share_asked_for(booth):
    rusty = []
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        thing = booth.plate(
            MaterialSpec("metal", {"body": GREY}, {"rust": share, "grain_m": 0.005, "roughness": 0.4})
        )
        picture = booth.shoot()[1:-1, 1:-1]
        rusty.append(float((picture[..., 0] > 1.5 * picture[..., 2]).mean()))
        bpy.data.objects.remove(thing)
    assert rusty[0] == 0
    assert rusty == sorted(rusty)
    assert rusty[1] < 0.3
    assert 0.3 < rusty[2] < 0.9
    assert rusty[4] > 0.95


def test_the_accent_shows_where_the_mesh_says_so(booth):
    thing = booth.plate()
    thing.data.attributes.new("accent", "FLOAT", "POINT").data.foreach_set("value", [0.0, 1.0, 1.0, 0.0])
    booth.materials.assign_material(thing, MaterialSpec("plastic", {"body": RED, "accent": BLUE}))
    picture = booth.shoot()
    assert picture[:, 1, 0].mean() > 3 * picture[:, 1, 2].mean()
    assert picture[:, 22, 2].mean() > 3 * picture[:, 22, 0].mean()


def test_a_surface_over_another_takes_its_place_where_the_mask_is_one(booth):
    def half(n):
        x, _, _ = n.separate(n.metres)
        mask = n.ramp(x, -0.001, 0.001)
        above = SurfaceSockets((0.9, 0.9, 0.9), 0.1, metallic=1.0)
        return n.blend(mask, SurfaceSockets((0.0, 0.0, 0.0), 1.0, specular=0.0), above)

    thing = booth.plate()
    thing["scale_m"] = 1.0
    wear(thing, half)
    picture = booth.shoot(16)
    picture = picture[2:-2, 2:-2]  # the world shows past the plate's edge
    assert picture[:, :8].mean() < 0.01
    assert picture[:, 12:].mean() == pytest.approx(0.9, rel=0.05)


def test_a_thing_with_defects_has_a_material_of_its_own_that_goes_with_it(booth):
    spec = MaterialSpec("plastic", {"body": RED})
    flaw = DefectSpec(
        number=1,
        category="mark",
        outline="blot",
        frame=(1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        size_m=(0.5, 0.5),
        material=MaterialSpec("plastic", {"body": BLUE}),
    )
    shared = booth.plate(spec).material_slots[0].material
    thing = booth.plate()
    thing.location.z = 0.1
    booth.materials.assign_material(thing, spec, [flaw])
    assert thing.material_slots[0].material != shared
    picture = booth.shoot()
    assert picture[11:13, 11:13, 2].mean() > 3 * picture[11:13, 11:13, 0].mean()
    assert picture[2:4, 2:4, 0].mean() > 3 * picture[2:4, 2:4, 2].mean()
    for old in [t for t in booth.scene.objects if t.type == "MESH"]:
        bpy.data.objects.remove(old)
    bpy.data.orphans_purge()
    assert [m.name for m in bpy.data.materials] == [shared.name]


def test_few_materials_are_kept_and_none_in_use_is_let_go(booth, tmp_path):
    worn = []
    for number in range(60):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
        thing = booth.plate(MaterialSpec("image", {}, {}, {"colour": str(path)}))
        if number < 5:
            worn.append(thing)
        else:
            bpy.data.objects.remove(thing)
    bpy.data.orphans_purge()
    assert len(bpy.data.materials) == 48
    assert len(bpy.data.images) <= 49
    assert all(thing.material_slots[0].material is not None for thing in worn)


# ---- pictures on surfaces --------------------------------------------------------------------------------


@pytest.fixture
def halves(tmp_path):
    """A picture: red on the left, blue on the right."""
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, :16, 0] = picture[:, 16:, 2] = 200
    Image.fromarray(picture).save(tmp_path / "halves.png")
    return str(tmp_path / "halves.png")


def test_a_mesh_with_texture_coordinates_shows_the_whole_picture(booth, halves):
    booth.plate(MaterialSpec("image", {}, {}, {"colour": halves}, tile_m=0.01), uv=True)
    picture = booth.shoot()
    assert picture[:, 1:11, 0].mean() > 3 * picture[:, 1:11, 2].mean()
    assert picture[:, 13:23, 2].mean() > 3 * picture[:, 13:23, 0].mean()


def test_a_mesh_without_them_shows_it_once_per_tile(booth, halves):
    booth.plate(MaterialSpec("image", {}, {}, {"colour": halves}, tile_m=0.5))
    row = booth.shoot()[12]
    red = row[:, 0] > row[:, 2]
    # Two tiles over the plate: one half-tile of 6 px, red or blue, after another.
    assert red.mean() == pytest.approx(0.5, abs=0.1)
    assert 3 <= np.count_nonzero(red[1:] != red[:-1]) <= 4


@pytest.mark.parametrize("slope", [(0.5, 0.0), (0.0, 0.5), (-0.4, 0.3)])
def test_a_normal_map_tilts_the_light_alike_with_and_without_texture_coordinates(booth, tmp_path, slope):
    normal = np.array([*slope, math.sqrt(1 - slope[0] ** 2 - slope[1] ** 2)])
    Image.new("RGB", (4, 4), tuple(int(v) for v in np.round((normal + 1) * 127.5))).save(tmp_path / "n.png")
    images = {"normal": str(tmp_path / "n.png")}
    booth.lit(0.0)
    booth.skies.light(
        booth.scene, LightSpec("studio", 0.0, (0, 0, 0), (sun((1.0, 0.0, 1.0)), sun((0.0, 0.5, 1.0))))
    )
    seen = []
    for uv, kept in ((True, images), (False, images), (False, {})):
        thing = booth.plate(MaterialSpec("pbr", {"body": GREY}, {"roughness": 1.0}, kept), uv=uv)
        seen.append(booth.shoot().mean())
        bpy.data.objects.remove(thing)
    lamps = np.array([[1.0, 0.0, 1.0], [0.0, 0.5, 1.0]])
    lamps /= np.linalg.norm(lamps, axis=1)[:, None]
    cosines = np.clip(lamps @ normal, 0, None).sum() / lamps[:, 2].sum()
    assert seen[0] / seen[2] == pytest.approx(cosines, rel=0.1)
    assert seen[1] / seen[2] == pytest.approx(cosines, rel=0.1)


def test_a_missing_picture_is_named(booth, tmp_path):
    for name in ("none.png", "broken.png"):
        (tmp_path / "broken.png").write_bytes(b"no picture")
        with pytest.raises(AssetError, match=name):
            booth.plate(MaterialSpec("image", {}, {}, {"colour": str(tmp_path / name)}))
