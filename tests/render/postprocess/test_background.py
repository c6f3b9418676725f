"""Backdrops against arithmetic, and photometric files."""

import cv2
import numpy as np
import pytest
from PIL import Image

from render.assets.ies import WATTS_PER_CANDELA, peak
from render.core.errors import AssetError
from render.core.spec import BackgroundSpec
from render.postprocess.background import PATTERNS, backdrop, composite, foreground_level, window

#: sRGB 188 is (188/255 + 0.055)/1.055 to the power of 2.4: just over half the light.
HALF = ((188 / 255 + 0.055) / 1.055) ** 2.4


def photo_of(path, **others):
    return BackgroundSpec(kind="photo", photo=str(path), **others)


@pytest.fixture
def quarters(tmp_path):
    """A photograph 40 x 20: red, green over blue, black; each quarter 20 x 10."""
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:10, :20, 0] = picture[:10, 20:, 1] = picture[10:, :20, 2] = 188
    path = tmp_path / "quarters.png"
    Image.fromarray(picture).save(path)
    return path


# ---- composite -------------------------------------------------------------------------------------------


def test_light_multiplied_by_its_alpha_lies_over_what_is_behind():
    light = np.array([[[0.2, 0.1, 0.0], [0.5, 0.5, 0.5]]], np.float32)
    alpha = np.array([[0.25, 1.0]], np.float32)
    behind = np.full((1, 2, 3), 0.4, np.float32)
    # 0.2 + 0.75 * 0.4 = 0.5; an opaque pixel hides all of it.
    assert composite(light, alpha, behind) == pytest.approx(np.array([[[0.5, 0.4, 0.3], [0.5, 0.5, 0.5]]]))


# ---- photographs -----------------------------------------------------------------------------------------


def test_the_window_is_the_largest_of_its_aspect_in_the_middle_and_then_a_share_of_it():
    # A square in 40 x 20 is 20 x 20 and starts at x = 10; half of it, from (0.5, 0.25) on.
    assert window(40, 20, 1.0, (0.0, 0.0, 1.0)) == (10, 0, 20, 20)
    assert window(40, 20, 1.0, (0.5, 0.25, 0.5)) == (20, 5, 10, 10)
    # 4 : 1 in 40 x 20 is 40 x 10 and starts at y = 5.
    assert window(40, 20, 4.0, (0.0, 0.0, 1.0)) == (0, 5, 40, 10)


@pytest.mark.parametrize("crop", [(0.9, 0.9, 0.5), (0.0, 0.0, 1.5), (1.0, 1.0, 1e-6)])
def test_a_window_never_leaves_the_photograph(crop):
    x, y, w, h = window(40, 20, 1.7, crop)
    assert 0 <= x < x + w <= 40
    assert 0 <= y < y + h <= 20


@pytest.mark.parametrize(
    ("change", "size", "expected"),
    [
        (
            {},
            (40, 20),
            {(2, 2): (HALF, 0, 0), (2, 37): (0, HALF, 0), (17, 2): (0, 0, HALF), (17, 37): (0, 0, 0)},
        ),
        ({"gain": 3.0}, (40, 20), {(2, 2): (3 * HALF, 0, 0)}),
        ({"flip": True}, (40, 20), {(2, 37): (HALF, 0, 0)}),
        # Against the clock: the right edge, green over black, becomes the top edge.
        ({"quarter_turns": 1}, (20, 40), {(2, 2): (0, HALF, 0), (37, 2): (HALF, 0, 0)}),
    ],
)
def test_a_photograph_becomes_linear_light(quarters, change, size, expected):
    picture = backdrop(photo_of(quarters, **change), *size)
    assert picture.dtype == np.float32
    assert picture.shape == (size[1], size[0], 3)
    for place, colour in expected.items():
        assert picture[place] == pytest.approx(colour, abs=1e-5)


def test_a_backdrop_is_as_bright_as_what_stands_before_it():
    light, alpha = np.full((8, 8, 3), 0.3, np.float32), np.zeros((8, 8), np.float32)
    assert foreground_level(light, alpha) is None
    alpha[2:6], light[:2] = 1.0, 9.0  # what the alpha does not cover does not count
    level = foreground_level(light, alpha)
    assert level == pytest.approx(0.3)
    spec = BackgroundSpec(kind="procedural", colours=((0.1, 0.2, 0.3), (0.7, 0.6, 0.5)), gain=2.0, seed=3)
    assert backdrop(spec, 32, 24, level).mean() == pytest.approx(0.6, rel=1e-4)


def test_a_crop_shows_its_part_alone(quarters):
    # Left half of the width, upper half of the height: red and nothing else.
    picture = backdrop(photo_of(quarters, crop=(0.0, 0.0, 0.5)), 64, 32)
    assert picture == pytest.approx(np.broadcast_to([HALF, 0, 0], (32, 64, 3)), abs=1e-6)


def test_a_photograph_stands_as_the_camera_was_held(tmp_path, quarters):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.open(quarters).save(tmp_path / "turned.jpg", quality=100, exif=exif)
    picture = backdrop(photo_of(tmp_path / "turned.jpg"), 40, 20)
    assert picture[17, 37] == pytest.approx([HALF, 0, 0], abs=0.02)


def test_a_large_jpeg_looks_as_it_would_decoded_whole(tmp_path):
    x, y = np.meshgrid(np.linspace(0, 1, 1200), np.linspace(0, 1, 800))
    large = (np.stack([x, y, 0.5 + 0 * x], -1) * 255).astype(np.uint8)
    Image.fromarray(large).save(tmp_path / "large.jpg", quality=98)
    Image.fromarray(large).save(tmp_path / "large.png")
    small, whole = (backdrop(photo_of(tmp_path / f"large.{kind}"), 60, 40) for kind in ("jpg", "png"))
    assert np.abs(small - whole).max() < 0.02


def test_sixteen_bits_and_floats_keep_their_light(tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((8, 8, 3), round(188 / 255 * 65535), np.uint16))
    assert backdrop(photo_of(tmp_path / "deep.png"), 8, 8) == pytest.approx(
        np.full((8, 8, 3), HALF), abs=1e-4
    )
    cv2.imwrite(str(tmp_path / "bright.hdr"), np.full((8, 8, 3), 5.0, np.float32))
    assert backdrop(photo_of(tmp_path / "bright.hdr"), 8, 8) == pytest.approx(
        np.full((8, 8, 3), 5.0), rel=0.01
    )


def test_an_enlarged_edge_never_turns_negative(quarters):
    assert backdrop(photo_of(quarters), 400, 200).min() >= 0


def test_what_is_no_photograph_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for name in ("broken.png", "broken.jpg", "missing.jpg", "missing.png"):
        with pytest.raises(AssetError, match=name):
            backdrop(photo_of(tmp_path / name), 8, 8)


# ---- patterns --------------------------------------------------------------------------------------------

RED = ((0.8, 0.1, 0.05), (0.4, 0.05, 0.025))


@pytest.mark.integration
@pytest.mark.parametrize("size", [(70, 33), (33, 70), (96, 96), (5, 4)])
@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_fills_the_picture_and_keeps_its_colours(name, size):
    drawn = PATTERNS[name](np.random.default_rng(4), *size, np.array(RED, np.float32))
    assert drawn.shape == (size[1], size[0], 3)
    assert np.isfinite(drawn).all()
    # Every mixture of two colours of one hue has that hue: red is eight greens and sixteen blues.
    assert drawn[..., 0] == pytest.approx(8 * drawn[..., 1], rel=1e-3, abs=1e-4)
    assert drawn[..., 0] == pytest.approx(16 * drawn[..., 2], rel=1e-3, abs=1e-4)
    assert drawn.max() > 0.01
    if min(size) > 30:
        assert drawn[..., 0].std() > 0.01


def test_seeds_reach_every_pattern_and_repeat_themselves(monkeypatch):
    drawn = []
    for name in PATTERNS:

        def remember(rng, width, height, colours, name=name):
            drawn.append(name)
            return np.ones((height, width, 3), np.float32)

        monkeypatch.setitem(PATTERNS, name, remember)
    for seed in range(60):
        backdrop(BackgroundSpec(kind="procedural", seed=seed), 8, 8)
    assert set(drawn) == set(PATTERNS)


def test_the_same_seed_is_the_same_picture_and_another_is_not():
    made = [backdrop(BackgroundSpec(kind="procedural", colours=RED, seed=s), 40, 30) for s in (1, 1, 2)]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_one_colour_or_none_is_enough():
    for colours in ((), (RED[0],)):
        assert backdrop(BackgroundSpec(kind="procedural", colours=colours, seed=3), 40, 30).std() > 0.001


# ---- photometric files -----------------------------------------------------------------------------------

LAMP = """IESNA:LM-63-1995
[TEST] by hand
TILT={tilt}
1 1000 2.0 3 1 1 2 0 0 0
0.5 1.5 100
0 45 90
0
100, 300 50
"""


def test_the_brightest_direction_counts_with_every_factor(tmp_path):
    path = tmp_path / "lamp.ies"
    # 300 cd x 2.0 x 0.5 x 1.5 = 450 cd.
    path.write_text(LAMP.format(tilt="NONE"))
    assert peak(path) == pytest.approx(450 * WATTS_PER_CANDELA)
    path.write_text(LAMP.format(tilt="INCLUDE\n1\n2\n0 90\n1.0 0.7"))
    assert peak(path) == pytest.approx(450 * WATTS_PER_CANDELA)


@pytest.mark.parametrize("text", ["", "no lamp", LAMP.format(tilt="NONE")[:-12], LAMP.replace("TILT", "T")])
def test_what_is_no_photometric_file_is_named(tmp_path, text):
    (tmp_path / "broken.ies").write_text(text)
    with pytest.raises(AssetError, match=r"broken\.ies"):
        peak(tmp_path / "broken.ies")


def test_a_missing_photometric_file_is_named(tmp_path):
    with pytest.raises(AssetError, match=r"none\.ies"):
        peak(tmp_path / "none.ies")
