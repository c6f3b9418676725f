import io
import math

import msgspec
import numpy as np
import pytest
from PIL import Image

from render.core.colour import decode, encoded
from render.core.spec import SensorSpec
from render.postprocess.sensor import blur, expose, motion_blur, to_bytes

PLAIN = SensorSpec(
    exposure=0.6, white_balance=0.0, warmth=0.0, saturation=1.0, blur_px=0.0, vignette=0.0, noise=0.0,
    jpeg_quality=90, seed=1,
)  # fmt: skip


def flat(*rgb):
    return np.full((40, 60, 3), rgb, np.float32)


def changed(**changes):
    return msgspec.structs.replace(PLAIN, **changes)


def two_tones(dark, bright):
    """Mostly `dark`, so that the median is; a bright stripe."""
    light = flat(dark, dark, dark)
    light[:, :10] = bright
    return light


# ---- exposure and colour ---------------------------------------------------------------------------------


def test_exposure_brings_the_table_to_the_value_asked_however_bright_the_light():
    for light in (0.01, 0.3, 50.0):
        assert (expose(flat(light, light, light), PLAIN) == round(0.6 * 255)).all()


def test_a_part_alone_in_the_dark_is_not_burnt():
    light = flat(0.0, 0.0, 0.0)
    light[10:30, 15:35] = 0.3  # a sixth of the picture
    picture = expose(light, changed(exposure=0.5))
    # Its light is brought to twice that of the grey asked for.
    assert picture[20, 25] == pytest.approx(255 * encoded(np.float32(2 * decode(0.5))), abs=1)
    assert picture[0, 0].max() == 0


def test_the_tone_curve_is_srgb_below_the_shoulder():
    picture = expose(two_tones(0.2, 0.05), changed(exposure=0.5))
    # A quarter of the light of the grey at 0.5.
    expected = 1.055 * (decode(0.5) / 4) ** (1 / 2.4) - 0.055
    assert picture[0, 0] == pytest.approx(255 * expected, abs=0.6)


def test_highlights_bend_towards_white_and_never_pass_it():
    # Linear 0.448 for the grey asked for, so 0.9, 1.3, 1.8 and 3.6; clipping would make white of all but the
    # first.
    light = flat(0.2, 0.2, 0.2)
    light[0, :4, 0] = light[0, :4, 1] = light[0, :4, 2] = np.array([2, 3, 4, 8]) * 0.2
    levels = expose(light, changed(exposure=0.7))[0, :4, 0].tolist()
    bent = [0.8 + 0.2 * (1 - math.exp(-(times * decode(0.7) - 0.8) / 0.2)) for times in (2, 3, 4, 8)]
    assert levels == pytest.approx([255 * encoded(np.float32(v)) for v in bent], abs=1)
    assert levels[0] < levels[1] < levels[2] <= levels[3] == 255


def test_gamma_lightens_the_middle_tones():
    # Black and white stay; a grey of 0.5 becomes its root.
    picture = expose(two_tones(0.2, 0.0), changed(exposure=0.5, gamma=2.0))
    assert picture[0, 0].max() == 0
    assert picture[0, 30] == pytest.approx(255 * 0.5**0.5, abs=0.6)


def test_white_balance_takes_the_tint_away_and_warmth_adds_one():
    tinted = flat(0.4, 0.2, 0.1)
    assert np.ptp(expose(tinted, changed(white_balance=1.0))[0, 0].astype(int)) <= 1
    assert np.ptp(expose(tinted, PLAIN)[0, 0].astype(int)) > 60
    red, green, blue = expose(flat(0.2, 0.2, 0.2), changed(warmth=0.1))[0, 0].astype(int)
    assert red > green > blue


def test_saturation_spreads_the_colours_about_their_mean():
    light = flat(0.3, 0.2, 0.1)
    linear = [
        np.array([decode(v / 255) for v in expose(light, changed(saturation=s))[0, 0]]) for s in (1, 0.5, 0)
    ]
    spread = [np.ptp(one) / one.mean() for one in linear]
    assert spread[0] == pytest.approx(1.0, abs=0.05)  # (0.3 - 0.1) / 0.2
    assert spread[1] == pytest.approx(0.5, abs=0.05)
    assert spread[2] == pytest.approx(0.0, abs=0.02)


def test_grey_weighs_colours_as_the_eye_does():
    light = flat(0.2, 0.2, 0.2)
    light[:, :10], light[:, 10:20] = (0.2, 0, 0), (0, 0.2, 0)
    picture = expose(light, changed(grey=True, exposure=0.5))
    assert (picture[..., :1] == picture).all()
    red, green, white = (decode(picture[0, x, 0] / 255) for x in (0, 10, 40))
    assert red / white == pytest.approx(0.2126, abs=0.01)
    assert green / white == pytest.approx(0.7152, abs=0.01)


def test_vignette_darkens_the_corners_only():
    picture = expose(flat(0.2, 0.2, 0.2), changed(vignette=0.5)).astype(int)
    assert picture[0, 0, 0] < picture[20, 30, 0] - 20


# ---- noise -----------------------------------------------------------------------------------------------


def test_noise_has_the_strength_and_seed_asked():
    light = flat(0.2, 0.2, 0.2)
    noisy = expose(light, changed(noise=0.02))
    assert (noisy == expose(light, changed(noise=0.02))).all()
    assert (noisy != expose(light, changed(noise=0.02, seed=2))).any()
    level = decode(0.6)
    # sRGB near 0.6 rises 255 * 1.055 / 2.4 * level ** (1 / 2.4 - 1) grey levels per unit of light.
    slope = 255 * 1.055 / 2.4 * level ** (1 / 2.4 - 1)
    assert noisy.std() == pytest.approx(0.02 * np.sqrt(level + 0.01) * slope, rel=0.05)


# ---- blur ------------------------------------------------------------------------------------------------


def point():
    light = np.zeros((41, 41, 3), np.float32)
    light[20, 20] = 1
    return light


def moments(spread):
    """Mean and variance of where the light is, along x and y."""
    offsets = np.arange(len(spread)) - len(spread) // 2
    shares = spread.sum(axis=0), spread.sum(axis=1)
    return [(float((s * offsets).sum()), float((s * offsets**2).sum())) for s in shares]


def test_blur_spreads_a_point_by_sigma_and_loses_nothing():
    spread = blur(point(), 2.0)[..., 0]
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    for mean, variance in moments(spread):
        assert mean == pytest.approx(0, abs=1e-5)
        assert variance == pytest.approx(4, rel=0.03)


@pytest.mark.parametrize(("angle_deg", "along", "across"), [(0, 1, 0), (90, 0, 1), (45, 0.5, 0.5)])
def test_motion_smears_along_its_line_and_moves_nothing(angle_deg, along, across):
    spread = motion_blur(point(), 15.0, np.radians(angle_deg))[..., 0]
    assert spread.sum() == pytest.approx(1, abs=1e-4)
    (x, xx), (y, yy) = moments(spread)
    assert (x, y) == pytest.approx((0, 0), abs=1e-3)
    # A line of length l has a variance of l² / 12; splitting a sample among four pixels adds up to 1 / 4.
    assert xx == pytest.approx(along * 225 / 12, abs=0.5)
    assert yy == pytest.approx(across * 225 / 12, abs=0.5)
    slope = (spread * np.outer(np.arange(41) - 20, np.arange(41) - 20)).sum()
    assert slope == pytest.approx(
        225 / 12 * np.sin(np.radians(angle_deg)) * np.cos(np.radians(angle_deg)), abs=0.5
    )


def test_no_motion_is_no_change():
    assert (motion_blur(point(), 0.2, 1.0) == point()).all()


def test_sharpening_steepens_an_edge_and_leaves_flat_places():
    light = flat(0.2, 0.2, 0.2)
    light[:, 30:] = 0.1
    soft, sharp = (
        expose(light, changed(exposure=0.5, blur_px=1.0, sharpen=s)).astype(int) for s in (0.0, 1.0)
    )
    assert np.abs(np.diff(sharp[20, :, 0])).max() > 1.3 * np.abs(np.diff(soft[20, :, 0])).max()
    assert (sharp[:, [5, 55]] == soft[:, [5, 55]]).all()


def test_a_broken_pixel_stays_one_pixel():
    light = flat(0.2, 0.2, 0.2)
    light[20, 30], light[10, 10] = np.nan, np.inf
    picture = expose(light, changed(noise=0.01))
    assert picture[20, 30].tolist() == [0, 0, 0]
    assert picture[10, 10].tolist() == [255, 255, 255]
    assert np.abs(picture[21:, 31:].astype(int) - 153).max() < 20


def test_the_light_itself_is_left_alone():
    light = flat(0.4, 0.2, 0.1)
    expose(light, changed(vignette=0.5, blur_px=1.0, motion_px=3.0, noise=0.1))
    expose(light, changed(vignette=0.5))
    assert (light == flat(0.4, 0.2, 0.1)).all()


# ---- files -----------------------------------------------------------------------------------------------


def test_files_are_what_they_say():
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    png = Image.open(io.BytesIO(to_bytes(pixels, "png", 90)))
    assert png.format == "PNG"
    assert (np.asarray(png) == pixels).all()
    assert len(to_bytes(pixels, "jpeg", 30)) < len(to_bytes(pixels, "jpeg", 95)) * 0.6


def test_a_jpeg_keeps_red_red():
    jpeg = Image.open(io.BytesIO(to_bytes(np.full((32, 32, 3), (200, 60, 20), np.uint8), "jpeg", 95)))
    assert jpeg.format == "JPEG"
    assert np.asarray(jpeg)[16, 16] == pytest.approx((200, 60, 20), abs=4)
