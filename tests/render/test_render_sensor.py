import io

import msgspec
import numpy as np
import pytest
from PIL import Image

from render.sensor import blur, decode, expose, to_bytes
from render.spec import SensorSpec

PLAIN = SensorSpec(
    exposure=0.6, white_balance=0.0, warmth=0.0, saturation=1.0, blur_px=0.0, vignette=0.0, noise=0.0,
    jpeg_quality=90, seed=1,
)  # fmt: skip


def flat(*rgb):
    return np.full((40, 60, 3), rgb, np.float32)


def changed(**changes):
    return msgspec.structs.replace(PLAIN, **changes)


def test_exposure_brings_the_table_to_the_value_asked_however_bright_the_light():
    for light in (0.01, 0.3, 50.0):
        assert (expose(flat(light, light, light), PLAIN) == round(0.6 * 255)).all()


def test_white_balance_takes_the_tint_away_and_warmth_adds_one():
    tinted = flat(0.4, 0.2, 0.1)
    assert np.ptp(expose(tinted, changed(white_balance=1.0))[0, 0].astype(int)) <= 1
    assert np.ptp(expose(tinted, PLAIN)[0, 0].astype(int)) > 60
    red, green, blue = expose(flat(0.2, 0.2, 0.2), changed(warmth=0.1))[0, 0].astype(int)
    assert red > green > blue


def test_vignette_darkens_the_corners_only():
    picture = expose(flat(0.2, 0.2, 0.2), changed(vignette=0.5)).astype(int)
    assert picture[0, 0, 0] < picture[20, 30, 0] - 20


def test_noise_has_the_strength_and_seed_asked():
    light = flat(0.2, 0.2, 0.2)
    noisy = expose(light, changed(noise=0.02))
    assert (noisy == expose(light, changed(noise=0.02))).all()
    assert (noisy != expose(light, changed(noise=0.02, seed=2))).any()
    level = decode(0.6)
    # sRGB near 0.6 rises 255 * 1.055 / 2.4 * level ** (1 / 2.4 - 1) grey levels per unit of light.
    slope = 255 * 1.055 / 2.4 * level ** (1 / 2.4 - 1)
    assert noisy.std() == pytest.approx(0.02 * np.sqrt(level + 0.01) * slope, rel=0.05)


def test_blur_spreads_a_point_by_sigma_and_loses_nothing():
    point = np.zeros((41, 41, 3), np.float32)
    point[20, 20] = 1
    spread = blur(point, 2.0)[..., 0]
    offsets = np.arange(41) - 20
    assert spread.sum() == pytest.approx(1, abs=1e-5)
    assert (spread.sum(axis=0) * offsets**2).sum() == pytest.approx(4, rel=0.03)
    assert (spread.sum(axis=1) * offsets).sum() == pytest.approx(0, abs=1e-5)


def test_files_are_what_they_say():
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    png = Image.open(io.BytesIO(to_bytes(pixels, "png", 90)))
    assert png.format == "PNG"
    assert (np.asarray(png) == pixels).all()
    assert Image.open(io.BytesIO(to_bytes(pixels, "jpeg", 90))).format == "JPEG"
    assert len(to_bytes(pixels, "jpeg", 30)) < len(to_bytes(pixels, "jpeg", 95)) * 0.6
