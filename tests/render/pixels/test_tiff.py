"""TIFF: samples of every type and layout, declared ranges, what would be misread."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.raw_images import U16, pack, png, tiff

from render.core.errors import PictureError
from render.pixels.decode import decode
from render.pixels.levels import to_8bit

FULL = [[0, 1, 128, 255]]  # 32768 * 255 / 65535 = 127.502


def grey(data: bytes) -> list[list[int]]:
    done = decode(data)
    assert done.grey
    assert (done.pixels == done.pixels[..., :1]).all()
    return done.pixels[..., 0].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("deflated", [False, True])
def test_16_bit_tiff_of_every_layout(order: str, big: bool, deflated: bool) -> None:
    assert grey(tiff(U16, order=order, big=big, deflated=deflated)) == FULL


@pytest.mark.parametrize(
    ("samples", "shown", "note"),
    [
        (U16, FULL, "scaled from 16 bit to 8 bit"),
        (np.array([[0, 273, 2048, 4095]], np.uint16), [[0, 17, 128, 255]],
         "scaled from 16 bit (12 used) to 8 bit"),
        (np.array([[0, 4, 512, 1023]], np.uint16), [[0, 1, 128, 255]],
         "scaled from 16 bit (10 used) to 8 bit"),
        (np.array([[0, 7, 200, 255]], np.uint16), [[0, 7, 200, 255]], "scaled from 16 bit (8 used) to 8 bit"),
        (np.array([[0, 4096, 0, 0]], np.uint16), [[0, 16, 0, 0]], "scaled from 16 bit to 8 bit"),
        (np.array([[0, 129, 16384, 32767]], np.int16), [[0, 1, 128, 255]],
         "scaled from signed 16 bit to 8 bit"),
        (np.array([[-1000, 0, 1550]], np.int16), [[0, 100, 255]],
         "scaled from signed 16 bit to 8 bit by the range of its own values"),
        (np.array([[15420, 32253, 49087]], np.int32), [[60, 125, 191]],
         "scaled from signed 32 bit (16 used) to 8 bit"),
        (np.array([[-1, 32767, 65535]], np.int32), [[0, 128, 255]],
         "scaled from signed 32 bit to 8 bit by the range of its own values"),
        (np.array([[0.0, 273.0, 4095.0]], np.float32), [[0, 17, 255]],
         "scaled from 32-bit float (12 used) to 8 bit"),
        (np.array([[100.0, 150.5, 200.0]], np.float32), [[0, 129, 255]],
         "scaled from 32-bit float to 8 bit by the range of its own values"),
        (np.array([[0, 9, 255]], np.int32), [[0, 9, 255]], "scaled from signed 32 bit (8 used) to 8 bit"),
        (np.array([[0, 2**31, 2**32 - 1]], np.uint32), [[0, 128, 255]],
         "scaled from 32 bit to 8 bit by the range of its own values"),
        (np.array([[0.0, 0.2, 0.5, 1.0]], np.float32), [[0, 51, 128, 255]],
         "scaled from 32-bit float in 0..1 to 8 bit"),
        (np.array([[0.0, 0.1, 0.2]], np.float64), [[0, 26, 51]], "scaled from 64-bit float in 0..1 to 8 bit"),
        (np.array([[-5.0, 0.0, 20.5]], np.float32), [[0, 50, 255]],
         "scaled from 32-bit float to 8 bit by the range of its own values"),
        (np.array([[np.nan, np.inf, -np.inf, 0.4]], np.float32), [[0, 255, 0, 102]],
         "scaled from 32-bit float in 0..1 to 8 bit"),
        (np.array([[70000, 70000]], np.int32), [[128, 128]],
         "scaled from signed 32 bit to 8 bit by the range of its own values"),
    ],
)  # fmt: skip
def test_every_type_of_sample(samples: NDArray[Any], shown: list[list[int]], note: str) -> None:
    scaled, said = to_8bit(samples)
    assert (scaled.tolist(), said) == (shown, note)
    done = decode(tiff(samples))
    assert done.pixels[..., 0].tolist() == shown
    assert done.notes == (note,)


def test_declared_ranges_count() -> None:
    ramp = np.array([[0, 1500, 3000]], np.uint16)
    said = tiff(ramp, tags=[(340, "H", (0,)), (341, "H", (3000,))])
    assert grey(said) == [[0, 128, 255]]
    assert decode(said).notes == ("scaled from 16 bit (0 to 3000 declared) to 8 bit",)
    # The older tag says what a camera can give, where it is a power of two; else what occurs in this picture.
    dark = np.array([[0, 1, 100]], np.uint16)
    assert grey(tiff(dark, tags=[(281, "H", (4095,))])) == [[0, 0, 6]]
    assert grey(tiff(dark, tags=[(280, "H", (0,)), (281, "H", (100,))])) == [[0, 1, 100]]
    kelvin = np.array([[300.0, 350.0, 400.0]], np.float32)
    assert grey(tiff(kelvin, tags=[(340, "f", (250.0,)), (341, "f", (500.0,))])) == [[51, 102, 153]]


def test_packed_samples() -> None:
    for bits, values in ((10, [0, 4, 512, 1023]), (12, [0, 16, 2048, 4095]), (14, [0, 64, 8192, 16383])):
        data = tiff(np.zeros((1, 4), np.uint16), bits=bits, packed=pack(values, bits))
        assert grey(data) == [[0, 1, 128, 255]], bits
        assert decode(data).notes == (f"scaled from {bits} bit to 8 bit",)


def test_colours_of_16_bit() -> None:
    # One range for all three: the colour stays what it is. Red 65535, green 32768, blue 257.
    rgb = np.array([[[65535, 32768, 257]]], np.uint16)
    for data in (tiff(rgb), tiff(rgb, order=">"), png(rgb, 2)):
        assert decode(data).pixels.tolist() == [[[1, 128, 255]]]
    twelve = np.array([[[4095, 2048, 16]]], np.uint16)
    assert decode(png(twelve, 2)).pixels.tolist() == [[[1, 128, 255]]]
    assert grey(png(U16, 0)) == FULL
    # Half of 65535 over white: (0 * 128 + 255 * 127) / 255 = 127.
    assert decode(png(np.array([[[0, 32768], [65535, 65535]]], np.uint16), 4)).pixels[..., 0].tolist() == [
        [127, 255]
    ]
    assert decode(tiff(np.array([[[65535, 0, 0, 65535]]], np.uint16))).pixels.tolist() == [[[0, 0, 255]]]


def test_a_fourth_channel_is_alpha_only_where_the_file_says_so() -> None:
    four = np.array([[[65535, 0, 0, 257]]], np.uint16)
    for extra in (0, -1):  # near infrared, say
        done = decode(tiff(four, extra=extra))
        assert done.pixels.tolist() == [[[0, 0, 255]]]
        assert "a fourth channel that is no transparency: left out" in done.notes
    for data in (tiff(four, extra=1), tiff(four, photometric=5, extra=-1)):  # multiplied already, and CMYK
        with pytest.raises(PictureError, match="other colours than grey and RGB"):
            decode(data)


def test_colours_in_planes_of_their_own_are_not_taken_for_pixels() -> None:
    with pytest.raises(PictureError, match="with each colour by itself"):
        decode(tiff(np.array([[[1, 2, 3]]], np.uint16), tags=[(284, "H", (2,))]))


def test_white_may_be_zero() -> None:
    assert grey(tiff(U16, photometric=0)) == [[255, 254, 127, 0]]
    assert grey(tiff(np.array([[0, 40, 255]], np.uint8), photometric=0)) == [[255, 215, 0]]
    one = np.zeros((1, 8), np.uint8)
    assert grey(tiff(one, bits=1, packed=b"\xb0"))[0][:4] == [255, 0, 255, 255]
    assert grey(tiff(one, bits=1, packed=b"\xb0", photometric=0))[0][:4] == [0, 255, 0, 0]
