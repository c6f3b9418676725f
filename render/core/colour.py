"""Colours: sRGB and linear light, HSV, the colour of a lamp."""

from __future__ import annotations

import colorsys
import math

import numpy as np
from numpy.typing import NDArray

from render.core.spec import Vector

FloatArray = NDArray[np.float32]


def decode(srgb: float) -> float:
    """SRGB in [0, 1] -> linear light (IEC 61966-2-1)."""
    return srgb / 12.92 if srgb <= 0.04045 else ((srgb + 0.055) / 1.055) ** 2.4


def linear(rgb: Vector) -> Vector:
    """SRGB in [0, 1] -> linear light, a colour."""
    r, g, b = map(decode, rgb)
    return (r, g, b)


def decoded(srgb: FloatArray) -> FloatArray:
    """SRGB in [0, 1] -> linear light, a picture."""
    return np.asarray(np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4), np.float32)


def encoded(light: FloatArray) -> FloatArray:
    """Linear light in [0, 1] -> sRGB, a picture."""
    curve = 1.055 * np.maximum(light, 1e-8) ** (1 / 2.4) - 0.055
    return np.asarray(np.where(light <= 0.0031308, 12.92 * light, curve), np.float32)


def from_hex(text: str) -> Vector:
    """`#rrggbb` -> sRGB in [0, 1]."""
    r, g, b = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return (r, g, b)


def shifted(rgb: Vector, dh: float, ds: float, dv: float) -> Vector:
    """The same colour with hue turned and saturation and value moved, all in [0, 1]."""
    h, s, v = colorsys.rgb_to_hsv(*rgb)
    return colorsys.hsv_to_rgb((h + dh) % 1.0, _unit(s + ds), _unit(v + dv))


def kelvin(temperature: float) -> Vector:
    """Linear RGB of a black body, brightest channel 1 (fit by Tanner Helland, 1000-15000 K)."""
    t = temperature / 100
    red = 1.0 if t <= 66 else 1.2929 * (t - 60) ** -0.1332
    green = 0.3901 * math.log(t) - 0.6318 if t <= 66 else 1.1299 * (t - 60) ** -0.0755
    blue = 1.0 if t >= 66 else 0.5432 * math.log(t - 10) - 1.1963 if t > 19 else 0.0
    return linear((_unit(red), _unit(green), _unit(blue)))


def _unit(x: float) -> float:
    return min(1.0, max(0.0, x))
