"""Sensor and processing of the camera: linear light in, 8-bit image out. It runs after labelling."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from render.core.colour import decode, encoded
from render.core.spec import SensorSpec

FloatArray = NDArray[np.float32]
#: The tone curve is a table of this many linear values up to _WHITE; one step is at most 0.12 of a grey
#: level.
_STEPS = 65536
#: Linear light that is as good as white: the shoulder has come within 1/2000 of it.
_WHITE = 2.4
_BRIGHTEST = np.float32(1e5)
_LUMINANCE = np.array([[0.2126, 0.7152, 0.0722]], np.float32)  # of sRGB's primaries


def expose(light: FloatArray, spec: SensorSpec) -> NDArray[np.uint8]:
    """Linear RGB (h, w, 3) -> sRGB (h, w, 3), as a camera's sensor and processing do.

    Steps: blur, vignette, exposure, white balance, noise, tone curve, sharpening. Exposure brings the median
        pixel to `spec.exposure` in sRGB, as automatic exposure does. White balance removes its share of the
        median's tint; `warmth` then adds one.
    """
    # A broken pixel (not a number, infinite) must not spread over its neighbours.
    picture = blur(np.minimum(np.fmax(light, 0, dtype=np.float32), _BRIGHTEST), spec.blur_px)
    picture = smear(picture, spec.motion_px, spec.motion_rad)
    if spec.vignette:
        # 1 in the middle, 1 - vignette in the corners.
        y, x = (((np.arange(side) + 0.5) / side * 2 - 1) ** 2 / 2 for side in picture.shape[:2])
        picture *= (1 - spec.vignette * (y[:, None] + x)[..., None]).astype(np.float32)
    mix = spec.saturation * np.eye(3) + (1 - spec.saturation) / 3
    matrix = (mix * _gain(picture, spec)).astype(np.float32)
    picture = np.maximum(cv2.transform(picture, matrix), 0)
    if spec.grey:
        picture = cv2.transform(picture, _LUMINANCE)[..., None]
    picture = _noisy(picture, spec)
    levels = _sharp(_toned(picture, spec.gamma), spec.sharpen)
    pixels = np.asarray(np.clip(levels + 0.5, 0, 255), np.uint8)
    return np.repeat(pixels, 3, axis=2) if spec.grey else pixels


def to_bytes(pixels: NDArray[np.uint8], kind: str, quality: int) -> bytes:
    """An image file, "jpeg" or "png", of RGB (h, w, 3)."""
    swapped = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == "jpeg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    return bytes(cv2.imencode(".jpg" if kind == "jpeg" else ".png", swapped, options)[1])


def blur(picture: FloatArray, sigma_px: float) -> FloatArray:
    """Gaussian blur, edges repeated."""
    if sigma_px < 0.05:
        return picture
    side = 2 * int(np.ceil(3 * sigma_px)) + 1
    blurred = cv2.GaussianBlur(
        picture, (side, side), sigma_px, sigmaY=sigma_px, borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(blurred, np.float32)


def smear(picture: FloatArray, length_px: float, angle_rad: float) -> FloatArray:
    """Motion blur along a line of some length, centred on the pixel; the angle is from x towards y (down)."""
    if length_px < 0.5:
        return picture
    reach = int(np.ceil(length_px / 2)) + 1
    steps = np.linspace(-0.5, 0.5, 16 * reach) * length_px
    x, y = reach + steps * np.cos(angle_rad), reach + steps * np.sin(angle_rad)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    for across, down in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = np.abs(1 - across - (x - column)) * np.abs(1 - down - (y - row))
        np.add.at(kernel, (np.minimum(row + down, 2 * reach), np.minimum(column + across, 2 * reach)), share)
    moved = cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
    # Long kernels go through a Fourier transform, which leaves tiny negative values in the dark.
    return np.asarray(np.maximum(moved, 0), np.float32)


def _gain(picture: FloatArray, spec: SensorSpec) -> NDArray[np.float64]:
    """(3,) factors of exposure and white balance.

    Where the median is black (a part alone in the dark) the bright tenth is exposed for instead.
    """
    sparse = picture[::2, ::2].reshape(-1, 3)
    median = np.median(sparse, axis=0)
    bright = np.percentile(sparse, 90, axis=0)
    level = np.maximum(np.where(median.mean() >= 0.1 * bright.mean(), median, 0.5 * bright), 1e-6)
    gain = (level.mean() / level) ** spec.white_balance
    gain *= np.array([1 + spec.warmth, 1.0, 1 - spec.warmth])
    return np.asarray(gain * (decode(spec.exposure) / float((level * gain).mean())))


def _toned(picture: FloatArray, gamma: float) -> FloatArray:
    """Levels 0 to 255 of linear light; `gamma` above 1 lightens the middle tones."""
    linear = np.linspace(0, _WHITE, _STEPS, dtype=np.float32)
    # Highlights above 0.8 bend towards 1 instead of clipping.
    shoulder = np.float32(0.2) * (1 - np.exp(-np.maximum(linear - 0.8, 0) / 0.2))
    table = encoded(np.minimum(linear, 0.8) + shoulder) ** np.float32(1 / gamma) * np.float32(255)
    steps = np.minimum(picture * np.float32((_STEPS - 1) / _WHITE) + np.float32(0.5), _STEPS - 1)
    return np.asarray(table[steps.astype(np.uint16)], np.float32)


def _sharp(levels: FloatArray, amount: float) -> FloatArray:
    """Unsharp mask with a radius of one pixel, as cameras do it: after the tone curve, noise included."""
    if amount <= 0:
        return levels
    softer = blur(levels, 1.0)
    return np.asarray(levels + np.float32(amount) * (levels - softer.reshape(levels.shape)), np.float32)


def _noisy(picture: FloatArray, spec: SensorSpec) -> FloatArray:
    """Shot noise (grows with the root of the light) and a tenth as much read noise; `noise` is sigma at 1."""
    if spec.noise <= 0:
        return picture
    rng = np.random.default_rng(spec.seed)
    grain = rng.standard_normal(picture.shape, dtype=np.float32)
    noisy = picture + np.float32(spec.noise) * np.sqrt(picture + np.float32(0.01)) * grain
    return np.asarray(np.maximum(noisy, 0), np.float32)
