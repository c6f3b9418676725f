"""Surfaces of embossed characters, optionally worn and warped. The strokes are those of OpenCV's fonts.

The outlines of Blender's own fonts are filled with long thin triangles, which can neither be bent nor worn.
A character is one unit high and centred at the origin: x along the text, y up, z out of the stamped face.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from render.core.spec import MeshSpec
from render.shapes.kernels.clip import clip_triangles
from render.shapes.kernels.surface import FloatArray, Surface, polygons

_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX)
#: Pixels and grid cells per character height. A stroke is at least 0.13 heights, or eight cells, wide.
_PIXELS, _CELLS = 192, 60
#: Half the width and height of the grid, in character heights: room for slanted and warped strokes.
_REACH = (0.85, 0.75)
#: Depth of a character's base below the face, as a share of its relief, so that no light gets under it.
_SUNK = 0.03
#: Default values of `form`.
_FORM = {"font": 0, "weight": 0.15, "relief": 0.08, "slant": 0.0, "erase": 0.0, "warp": 0.0, "seed": 0}


def glyph(spec: MeshSpec) -> Surface:
    """Return the surface of one embossed character; accent is 1 on the tops of the strokes.

    form: relief (height of the strokes), weight (their width), slant (radians), font (0, 1), erase (share of
        the strokes' area removed), warp (0: as cut, 1: hardly a digit), seed.
    """
    return _glyph(spec.text, tuple((_FORM | spec.form).items()))


@lru_cache(maxsize=256)
def _glyph(text: str, values: tuple[tuple[str, float], ...]) -> Surface:
    form = dict(values)
    weight, relief, warp = form["weight"], form["relief"], form["warp"]
    rng = np.random.default_rng(int(form["seed"]))
    x, y = np.meshgrid(*(np.arange(-r, r + 1e-9, 1 / _CELLS) for r in _REACH))
    bend = [_noise(x, y, 2.5, rng) for _ in range(2)]
    distances, row, column = _strokes(text, int(form["font"]), weight)
    across, up = x - form["slant"] * y + 0.16 * warp * bend[0], y + 0.16 * warp * bend[1]
    at = np.stack([row - up * _PIXELS, column + across * _PIXELS])
    inside = np.asarray(map_coordinates(distances, at, order=1, mode="nearest"))
    # The flank takes 40 % of half the stroke's width; outside the stroke the height is below the face.
    height = np.minimum(inside / (0.2 * weight), 1.0)
    height *= 1 - 0.35 * warp * np.clip(_noise(x, y, 5.0, rng), -0.5, 1)
    if form["erase"] > 0:
        height = np.minimum(height, _wear(x, y, inside > 0, form["erase"], rng))
    # Accent: the highest areas are rubbed bright, or carry the paint.
    return _surface_above(x, y, relief * height, -_SUNK * relief, np.clip(4 * height - 2, 0, 1))


@lru_cache(maxsize=64)
def _strokes(text: str, font: int, weight: float) -> tuple[FloatArray, float, float]:
    """Return the signed distance to the outline of the strokes, and row and column of their centre.

    The distance is in character heights and positive inside.
    """
    thick = max(4, round(weight * _PIXELS))
    kind = _FONTS[font % len(_FONTS)]
    # The height of the centre lines is the height of the character less the width of a stroke.
    size = cv2.getFontScaleFromHeight(kind, _PIXELS - thick, 1)
    half = [round(r * _PIXELS * 1.4) for r in _REACH]
    raster = np.zeros((2 * half[1], 2 * half[0]), np.uint8)
    origin = (half[0] // 2, half[1] + _PIXELS // 2)
    # OpenCV draws thick lines about three pixels too wide.
    cv2.putText(raster, text, origin, kind, size, 255, thick - 3, cv2.LINE_AA)
    solid = (raster > 127).astype(np.uint8)
    inner, outer = (cv2.distanceTransform(part, cv2.DIST_L2, 5) for part in (solid, 1 - solid))
    rows, columns = np.nonzero(solid)
    middle = float(rows.min() + rows.max()) / 2, float(columns.min() + columns.max()) / 2
    return np.asarray((inner - outer) / _PIXELS, np.float64), *middle


def _noise(x: FloatArray, y: FloatArray, cells: float, rng: Generator) -> FloatArray:
    """Return smooth noise with mean 0, nearly all in [-1, 1], with `cells` lumps per height."""
    coarse = rng.normal(0, 0.5, (int(cells * 2 * _REACH[1]) + 3, int(cells * 2 * _REACH[0]) + 3))
    fine = cv2.resize(coarse, x.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine, np.float64)


def _wear(
    x: FloatArray, y: FloatArray, strokes: NDArray[np.bool_], share: float, rng: Generator
) -> FloatArray:
    """Return the height that wear leaves; exactly `share` of the strokes' area is below 0, that is removed.

    The wear is a slope across the digit, since a stamp hits askew, and noise, since scale falls off in lumps.
    """
    angle = rng.uniform(0, 2 * np.pi)
    material_left = _noise(x, y, 4.0, rng) + rng.uniform(0.2, 1.2) * (np.cos(angle) * x + np.sin(angle) * y)
    material_left += 0.15 * _noise(x, y, 14.0, rng)
    return np.asarray(5.0 * (material_left - np.quantile(material_left[strokes], share)))


def _surface_above(x: FloatArray, y: FloatArray, z: FloatArray, floor: float, accent: FloatArray) -> Surface:
    """Return the part of a height field above `floor`, clipped along the contour; its underside is open."""
    number = np.arange(z.size).reshape(z.shape)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]
    triangles = np.concatenate([np.stack(t, axis=-1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    triangles, added = clip_triangles(triangles, points, floor - points[:, 2])
    used, corners = np.unique(triangles, return_inverse=True)
    points, accents = np.concatenate([points, added]), np.append(accent, np.zeros(len(added)))
    return polygons(points[used], corners.reshape(-1, 3), accent=accents[used])
