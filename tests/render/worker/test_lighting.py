"""Lamps and panoramas in the real Blender, on pictures of a few pixels, against arithmetic."""

import math

import numpy as np
import pytest
from PIL import Image

bpy = pytest.importorskip("bpy")

from support.lit_plate import Booth, sun, wear  # noqa: E402

from render.core.errors import AssetError  # noqa: E402
from render.core.spec import LampSpec, LightSpec, MaterialSpec  # noqa: E402
from render.worker.materials.nodes import SurfaceSockets  # noqa: E402

pytestmark = pytest.mark.render

RED, BLUE, GREY = (0.6, 0.05, 0.05), (0.05, 0.05, 0.6), (0.5, 0.5, 0.5)


@pytest.fixture
def booth(tmp_path):
    return Booth(tmp_path)


def lamp(kind="point", location=(0.0, 0.0, 2.0), power=100.0, **others):
    return LampSpec(kind, location, power, (1.0, 1.0, 1.0), size_m=0.01, **others)


@pytest.fixture
def matt(booth):
    """A white matt plate, and a way to light it."""
    wear(booth.plate(width=1.2), lambda n: SurfaceSockets((0.8, 0.8, 0.8), 1.0, specular=0.0))
    return booth


def middle(booth, *lamps, sky="studio", strength=0.0, turn=(0.0, 0.0, 0.0)):
    """What the middle of the plate sends up."""
    for thing in [t for t in booth.scene.objects if t.type == "LIGHT"]:
        bpy.data.objects.remove(thing)
    booth.skies.light(booth.scene, LightSpec(sky, strength, turn, lamps))
    return float(booth.shoot(16)[11:13, 11:13].mean())


def test_a_sun_lights_by_its_power_and_height(matt):
    # A matt surface of albedo a under E W/m² sends a E cos / pi in every direction.
    assert middle(matt, sun((0.0, 0.0, 1.0), 2.0)) == pytest.approx(0.8 * 2 / math.pi, rel=0.02)
    slanting = middle(matt, sun((math.sqrt(3), 0.0, 1.0), 2.0))
    assert slanting == pytest.approx(0.8 * 2 / math.pi / 2, rel=0.02)


@pytest.mark.parametrize("kind", ["point", "spot"])
def test_light_falls_with_the_square_of_the_distance_and_grows_with_the_power(matt, kind):
    near = middle(matt, lamp(kind))
    assert near > 0.1
    assert middle(matt, lamp(kind, (0.0, 0.0, 4.0))) == pytest.approx(near / 4, rel=0.02)
    assert middle(matt, lamp(kind, power=300.0)) == pytest.approx(near * 3, rel=0.02)


def test_a_lamp_shines_where_it_aims(matt):
    ahead = middle(matt, lamp("spot", angle_rad=0.3))
    assert ahead > 0.1
    assert middle(matt, lamp("spot", angle_rad=0.3, aim=(2.0, 0.0, 0.0))) == 0
    assert middle(matt, lamp("area")) > 0.1
    assert middle(matt, lamp("area", aim=(0.0, 0.0, 5.0))) == 0
    # A lamp that stands where it aims looks down.
    assert middle(matt, lamp("area", aim=(0.0, 0.0, 2.0))) > 0.1


def test_glass_throws_a_light_shadow(matt):
    roof = matt.plate(MaterialSpec("plastic"), width=0.4, x=0.5)
    roof.location.z = 0.5
    # The sun stands at 45 degrees: the shadow of a roof half a unit up and to the right lies in the middle.
    low = sun((1.0, 0.0, 1.0))
    assert middle(matt, low) == 0
    matt.materials.assign_material(roof, MaterialSpec("glass"))
    shaded = middle(matt, low)
    bpy.data.objects.remove(roof)
    assert 0.7 < shaded / middle(matt, low) < 1


def test_a_photometric_file_forms_the_light_and_leaves_its_power(matt, tmp_path):
    path = tmp_path / "lamp.ies"
    head = "IESNA:LM-63-1995\nTILT=NONE\n1 1000 3.0 5 1 1 2 0 0 0\n1 1 100\n0 44 46 90 180\n0\n"
    path.write_text(head + "200 200 0 0 0\n")
    plain = middle(matt, lamp())
    assert middle(matt, lamp(ies=str(path))) == pytest.approx(plain, rel=0.03)
    assert middle(matt, lamp(ies=str(path), location=(3.0, 0.0, 2.0), aim=(3.0, 0.0, 0.0))) < 0.01 * plain
    # Turned towards the plate it is bright again.
    assert middle(matt, lamp(ies=str(path), location=(3.0, 0.0, 2.0))) > 0.1 * plain


@pytest.fixture
def lit_from_above(tmp_path):
    """A panorama, white in its upper half and black below."""
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16] = 255
    Image.fromarray(picture).save(tmp_path / "above.png")
    return str(tmp_path / "above.png")


def test_a_panorama_of_your_own_lights_as_strongly_as_asked(matt, lit_from_above):
    # A white sky over a plate of albedo 0.8 makes it 0.8.
    assert middle(matt, sky=lit_from_above, strength=1.0) == pytest.approx(0.8, rel=0.03)
    assert middle(matt, sky=lit_from_above, strength=2.0) == pytest.approx(1.6, rel=0.03)


def test_a_sky_turns_about_every_axis(matt, lit_from_above):
    for axis, left in ((0, 0.0), (1, 0.0), (2, 0.8)):
        turn = [0.0, 0.0, 0.0]
        turn[axis] = math.pi
        assert middle(matt, sky=lit_from_above, strength=1.0, turn=tuple(turn)) == pytest.approx(
            left, abs=0.03
        )
    # On its side it lights half of what the plate sees.
    side = middle(matt, sky=lit_from_above, strength=1.0, turn=(math.pi / 2, 0.0, 0.0))
    assert side == pytest.approx(0.4, rel=0.1)


def test_few_skies_are_kept(booth, tmp_path):
    before = len(bpy.data.worlds)
    for number in range(12):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (8, 4), (number, 0, 0)).save(path)
        booth.skies.light(booth.scene, LightSpec(str(path), 1.0, (0.0, 0.0, 0.0)))
    assert len(bpy.data.worlds) - before == 8
    assert booth.scene.world.name.startswith("11")


def test_a_missing_panorama_is_named(booth):
    with pytest.raises(AssetError, match=r"no\.exr"):
        booth.skies.light(booth.scene, LightSpec("/nowhere/no.exr", 1.0, (0.0, 0.0, 0.0)))
