"""Sensor and processing of the camera: linear light in, 8-bit image out. Applied after labelling."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from render.core.colour import decode, encoded
from render.core.spec import SensorSpec

FloatArray = NDArray[np.float32]
#: Entries of the tone curve table, from 0 to _WHITE; a step is at most 0.12 of a grey level.
_STEPS = 65536
#: Linear light shown as white: here the shoulder of the tone curve is within 1/2000 of white.
_WHITE = 2.4
_BRIGHTEST = np.float32(1e5)
_LUMINANCE = np.array([[0.2126, 0.7152, 0.0722]], np.float32)  # weights of the sRGB primaries


def expose(light: FloatArray, spec: SensorSpec) -> NDArray[np.uint8]:
    """Convert linear RGB (h, w, 3) to sRGB (h, w, 3), as the sensor and the processing of a camera do.

    Steps: blur, vignette, exposure, white balance, noise, tone curve, sharpening. Like automatic exposure,
    exposure brings the median pixel to `spec.exposure` in sRGB. White balance removes the share
    `spec.white_balance` of the tint of the median; `spec.warmth` then adds a tint.
    """
    # Blur must not spread an invalid pixel (NaN or infinite) over its neighbours.
    image = blur(np.minimum(np.fmax(light, 0, dtype=np.float32), _BRIGHTEST), spec.blur_px)
    image = motion_blur(image, spec.motion_px, spec.motion_rad)
    if spec.vignette:
        # The factor is 1 in the centre and 1 - vignette in the corners.
        y, x = (((np.arange(side) + 0.5) / side * 2 - 1) ** 2 / 2 for side in image.shape[:2])
        image *= (1 - spec.vignette * (y[:, None] + x)[..., None]).astype(np.float32)
    mix = spec.saturation * np.eye(3) + (1 - spec.saturation) / 3
    matrix = (mix * _gain(image, spec)).astype(np.float32)
    image = np.maximum(cv2.transform(image, matrix), 0)
    if spec.grey:
        image = cv2.transform(image, _LUMINANCE)[..., None]
    image = _add_noise(image, spec)
    levels = _sharpen(_apply_tone_curve(image, spec.gamma), spec.sharpen)
    pixels = np.asarray(np.clip(levels + 0.5, 0, 255), np.uint8)
    return np.repeat(pixels, 3, axis=2) if spec.grey else pixels


def to_bytes(pixels: NDArray[np.uint8], kind: str, quality: int) -> bytes:
    """Encode RGB (h, w, 3) as a "jpeg" or "png" file."""
    swapped = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == "jpeg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    return bytes(cv2.imencode(".jpg" if kind == "jpeg" else ".png", swapped, options)[1])


def blur(image: FloatArray, sigma_px: float) -> FloatArray:
    """Apply Gaussian blur with replicated borders."""
    if sigma_px < 0.05:
        return image
    side = 2 * int(np.ceil(3 * sigma_px)) + 1
    blurred = cv2.GaussianBlur(
        image, (side, side), sigma_px, sigmaY=sigma_px, borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(blurred, np.float32)


def motion_blur(image: FloatArray, length_px: float, angle_rad: float) -> FloatArray:
    """Apply motion blur along a line centred on the pixel; the angle is from x towards y (down)."""
    if length_px < 0.5:
        return image
    reach = int(np.ceil(length_px / 2)) + 1
    steps = np.linspace(-0.5, 0.5, 16 * reach) * length_px
    x, y = reach + steps * np.cos(angle_rad), reach + steps * np.sin(angle_rad)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    for across, down in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = np.abs(1 - across - (x - column)) * np.abs(1 - down - (y - row))
        np.add.at(kernel, (np.minimum(row + down, 2 * reach), np.minimum(column + across, 2 * reach)), share)
    moved = cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
    # OpenCV applies long kernels by Fourier transform, which leaves tiny negative values in dark areas.
    return np.asarray(np.maximum(moved, 0), np.float32)


def _gain(image: FloatArray, spec: SensorSpec) -> NDArray[np.float64]:
    """Return the factors (3,) of exposure and white balance.

    If the median is black, as for one part on a dark ground, exposure follows the brightest tenth instead.
    """
    sparse = image[::2, ::2].reshape(-1, 3)
    median = np.median(sparse, axis=0)
    bright = np.percentile(sparse, 90, axis=0)
    level = np.maximum(np.where(median.mean() >= 0.1 * bright.mean(), median, 0.5 * bright), 1e-6)
    gain = (level.mean() / level) ** spec.white_balance
    gain *= np.array([1 + spec.warmth, 1.0, 1 - spec.warmth])
    return np.asarray(gain * (decode(spec.exposure) / float((level * gain).mean())))


def _apply_tone_curve(image: FloatArray, gamma: float) -> FloatArray:
    """Convert linear light to levels from 0 to 255; `gamma` above 1 lightens the middle tones."""
    linear = np.linspace(0, _WHITE, _STEPS, dtype=np.float32)
    # Highlights above 0.8 approach 1 smoothly instead of clipping.
    shoulder = np.float32(0.2) * (1 - np.exp(-np.maximum(linear - 0.8, 0) / 0.2))
    table = encoded(np.minimum(linear, 0.8) + shoulder) ** np.float32(1 / gamma) * np.float32(255)
    steps = np.minimum(image * np.float32((_STEPS - 1) / _WHITE) + np.float32(0.5), _STEPS - 1)
    return np.asarray(table[steps.astype(np.uint16)], np.float32)


def _sharpen(levels: FloatArray, amount: float) -> FloatArray:
    """Apply an unsharp mask with a radius of one pixel after the tone curve, as cameras do."""
    if amount <= 0:
        return levels
    softer = blur(levels, 1.0)
    return np.asarray(levels + np.float32(amount) * (levels - softer.reshape(levels.shape)), np.float32)


def _add_noise(image: FloatArray, spec: SensorSpec) -> FloatArray:
    """Add shot noise, proportional to the root of the light, and read noise, a tenth of that at white.

    `spec.noise` is the standard deviation at white.
    """
    if spec.noise <= 0:
        return image
    rng = np.random.default_rng(spec.seed)
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    noisy = image + np.float32(spec.noise) * np.sqrt(image + np.float32(0.01)) * grain
    return np.asarray(np.maximum(noisy, 0), np.float32)
