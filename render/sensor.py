"""The camera behind the lens: linear light in, 8-bit picture out. After labelling, and moves nothing."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from render.spec import SensorSpec

FloatArray = NDArray[np.float32]


def expose(light: FloatArray, spec: SensorSpec) -> NDArray[np.uint8]:
    """Linear RGB (h, w, 3) -> sRGB (h, w, 3): blur, vignette, exposure, white balance, noise, tone curve.

    Exposure brings the median pixel (the table) to `spec.exposure` in sRGB, as a camera's automatic does;
    white balance takes away that share of the median's tint, `warmth` then adds one.
    """
    picture = blur(np.clip(light, 0, None).astype(np.float32), spec.blur_px)
    picture *= _vignette(picture.shape[0], picture.shape[1], spec.vignette)[..., None]
    median = np.maximum(np.median(picture.reshape(-1, 3), axis=0), 1e-6)
    gain = (median.mean() / median) ** spec.white_balance
    gain *= np.array([1 + spec.warmth, 1.0, 1 - spec.warmth])
    gain *= decode(spec.exposure) / float((median * gain).mean())
    picture *= gain.astype(np.float32)
    grey = picture.mean(axis=2, keepdims=True)
    picture = np.clip(grey + spec.saturation * (picture - grey), 0, None)
    picture = _noisy(picture, spec)
    return np.asarray(np.round(encode(_shoulder(picture)) * 255), np.uint8)


def to_bytes(pixels: NDArray[np.uint8], kind: str, quality: int) -> bytes:
    """An image file, "jpeg" or "png"."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    if kind == "jpeg":
        image.save(buffer, "JPEG", quality=quality)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()


def blur(picture: FloatArray, sigma_px: float) -> FloatArray:
    """Gaussian blur, edges repeated."""
    if sigma_px < 0.05:
        return picture.copy()
    reach = int(np.ceil(3 * sigma_px))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    for axis in (0, 1):
        pad = [(reach, reach) if a == axis else (0, 0) for a in range(3)]
        padded, size = np.pad(picture, pad, mode="edge"), picture.shape[axis]
        moved = (padded.take(range(i, i + size), axis) * k for i, k in enumerate(kernel))
        picture = sum(moved, start=np.zeros_like(picture))
    return picture


def decode(srgb: float) -> float:
    """SRGB -> linear, one number."""
    return srgb / 12.92 if srgb <= 0.04045 else ((srgb + 0.055) / 1.055) ** 2.4


def encode(linear: FloatArray) -> FloatArray:
    """Linear in [0, 1] -> sRGB."""
    curve = 1.055 * np.maximum(linear, 1e-8) ** (1 / 2.4) - 0.055
    return np.asarray(np.where(linear <= 0.0031308, 12.92 * linear, curve), np.float32)


def _shoulder(linear: FloatArray, start: float = 0.8) -> FloatArray:
    """Highlights above `start` bend towards 1 instead of clipping."""
    over = np.maximum(linear - start, 0)
    bent = (1 - start) * (1 - np.exp(-over / (1 - start)))
    return np.asarray(np.minimum(linear, start) + bent, np.float32)


def _vignette(height: int, width: int, strength: float) -> FloatArray:
    """(height, width): 1 in the middle, 1 - strength in the corners."""
    y = (np.arange(height) + 0.5) / height * 2 - 1
    x = (np.arange(width) + 0.5) / width * 2 - 1
    return np.asarray(1 - strength * (y[:, None] ** 2 + x[None] ** 2) / 2, np.float32)


def _noisy(picture: FloatArray, spec: SensorSpec) -> FloatArray:
    """Shot noise (grows with the root of the light) and a tenth as much read noise; `noise` is sigma at 1."""
    rng = np.random.default_rng(spec.seed)
    grain = rng.standard_normal(picture.shape, dtype=np.float32)
    noisy = picture + spec.noise * np.sqrt(picture + 0.01) * grain
    return np.asarray(np.clip(noisy, 0, None), np.float32)
