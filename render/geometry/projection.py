"""Camera model: from points to pixels, and from pixels to rays.

Pixel coordinates start at the image's upper left corner, x right, y down: pixel (column i, row j) covers
[i, i + 1] x [j, j + 1]. OpenCV's coordinates count from the centre of the first pixel, so they are 0.5 less.
The principal point is (width / 2, height / 2) + lens.shift_px. "Flat" coordinates are those of the plane one
metre in front of the camera, x right and y down, before lens distortion.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from render.core.errors import RecipeError
from render.core.spec import CameraSpec, LensSpec
from render.geometry.transforms import FloatArray, matrix

#: What is nearer than this to the camera's plane is not seen, in metres.
NEAR_M = 1e-4
_Coefficients = tuple[float, float, float, float, float]
#: A lens that bends so much that its undistorted picture has this many times the pixels is refused.
_LARGEST = 12.0


def to_camera(camera: CameraSpec, points: FloatArray) -> FloatArray:
    """World points (n, 3) -> right, down and forward of the camera (n, 3), metres."""
    axes, position = matrix(camera.pose)
    x, y, z = (np.asarray(points, np.float64) - position).T
    # Sum by sum and not as a matrix product: equal points must give equal numbers wherever they stand in it.
    right, up, back = (x * a + y * b + z * c for a, b, c in axes.T)
    return np.stack([right, -up, -back], axis=1)


def project(camera: CameraSpec, width: int, height: int, points: FloatArray) -> FloatArray:
    """World points (n, 3) -> pixels (n, 2), also outside the image; NaN for points behind the camera."""
    local = to_camera(camera, points)
    depth = np.where(local[:, 2] > NEAR_M, local[:, 2], np.nan)
    return to_pixels(camera, width, height, local[:, :2] / depth[:, None])


def to_pixels(camera: CameraSpec, width: int, height: int, flat: FloatArray) -> FloatArray:
    """Flat coordinates (n, 2) -> pixels (n, 2)."""
    focal, middle = _focal_and_middle(camera.lens, camera.focal_px, width, height)
    return np.asarray(distort(flat, camera.lens.k) * focal + middle)


def ray(camera: CameraSpec, width: int, height: int, pixels: FloatArray) -> FloatArray:
    """Unit directions (n, 3) in the world in which pixels (n, 2) look."""
    focal, middle = _focal_and_middle(camera.lens, camera.focal_px, width, height)
    flat = undistort((np.asarray(pixels, np.float64) - middle) / focal, camera.lens.k)
    axes, _ = matrix(camera.pose)
    local = np.stack([flat[:, 0], -flat[:, 1], -np.ones(len(flat))], axis=1)
    return np.asarray(local / np.linalg.norm(local, axis=1, keepdims=True) @ axes.T)


def on_ground(camera: CameraSpec, width: int, height: int, pixels: FloatArray) -> FloatArray:
    """Points (n, 3) of the plane z = 0 that pixels (n, 2) show; NaN at and beyond the horizon."""
    direction = ray(camera, width, height, pixels)
    _, position = matrix(camera.pose)
    reached = direction[:, 2] * np.sign(-position[2]) > 1e-9
    steps = np.divide(-position[2], direction[:, 2], out=np.full(len(direction), np.nan), where=reached)
    return np.asarray(position + steps[:, None] * direction)


def distort(flat: FloatArray, k: _Coefficients) -> FloatArray:
    """Apply lens distortion to flat coordinates (n, 2): k1, k2, p1, p2, k3 of OpenCV's model.

    Beyond the radius where the polynomial turns back (which no real lens does) the curve continues as a
    straight line, so that a point far outside the image is never folded into it.
    """
    if not any(k):
        return np.asarray(flat, np.float64)
    radius = np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-300)
    return np.asarray(flat * (_radial(radius, k)[0] / radius) + _tangential(flat, radius, k))


def undistort(bent: FloatArray, k: _Coefficients) -> FloatArray:
    """Invert `distort` to 1e-12: Newton's method along the radius, iteration for the tangential part."""
    if not any(k):
        return np.asarray(bent, np.float64)
    flat = np.asarray(bent, np.float64)
    for _ in range(12 if k[2] or k[3] else 1):
        radius = np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-300)
        target = bent - _tangential(flat, radius, k)
        length = np.maximum(np.linalg.norm(target, axis=1, keepdims=True), 1e-300)
        flat = target * (_radius_before(length, k) / length)
    return flat


def _radial(radius: FloatArray, k: _Coefficients) -> tuple[FloatArray, FloatArray]:
    """Radius behind the lens and its slope."""
    limit = _limit(k)
    inside = np.minimum(radius, limit)
    s = inside * inside
    slope = 1 + s * (3 * k[0] + s * (5 * k[1] + s * 7 * k[4]))
    return inside * (1 + s * (k[0] + s * (k[1] + s * k[4]))) + (radius - inside) * slope, slope


def _radius_before(bent: FloatArray, k: _Coefficients) -> FloatArray:
    radius = np.minimum(bent, _limit(k))
    for _ in range(50):
        value, slope = _radial(radius, k)
        step = (bent - value) / slope
        radius = np.maximum(radius + step, 0.0)
        if np.abs(step).max(initial=0.0) < 1e-13:
            break
    return radius


def _tangential(flat: FloatArray, radius: FloatArray, k: _Coefficients) -> FloatArray:
    x, y = (flat * np.minimum(1.0, _limit(k) / radius)).T
    s, (p1, p2) = x * x + y * y, k[2:4]
    return np.stack([2 * p1 * x * y + p2 * (s + 2 * x * x), p1 * (s + 2 * y * y) + 2 * p2 * x * y], axis=1)


@lru_cache(maxsize=64)
def _limit(k: _Coefficients) -> float:
    """Just short of the radius where the polynomial turns back; at most 1e3 when it never does."""
    roots = np.roots([7 * k[4], 5 * k[1], 3 * k[0], 1.0])
    turning = [r.real for r in roots if abs(r.imag) < 1e-9 and r.real > 0]
    return min(1e3, 0.95 * float(np.sqrt(min(turning)))) if turning else 1e3


def _focal_and_middle(
    lens: LensSpec, focal_px: float, width: int, height: int
) -> tuple[FloatArray, FloatArray]:
    focal = np.array([focal_px, focal_px * lens.aspect])
    return focal, np.array([width / 2 + lens.shift_px[0], height / 2 + lens.shift_px[1]])


@dataclass(frozen=True, eq=False)
class Plate:
    """The straight picture from which a lens's bent one is taken.

    camera: without distortion, for a picture of width x height pixels.  across, down: (h, w) of the bent
    picture, where each of its pixels lies in the straight one, counted from the middle of the first pixel.
    """

    camera: CameraSpec
    width: int
    height: int
    across: NDArray[np.float32]
    down: NDArray[np.float32]


def plate(camera: CameraSpec, width: int, height: int) -> Plate | None:
    """The picture to render for a camera whose lens bends; None when it does not."""
    if not any(camera.lens.k):
        return None
    focal_px, lens, (wide, high), maps = _straightened(camera.lens, camera.focal_px, width, height)
    # So that the lens keeps its length in millimetres, on which the focus blur depends.
    sensor_mm = camera.sensor_mm * (wide / width) * (camera.focal_px / focal_px)
    straight = msgspec.structs.replace(camera, focal_px=focal_px, sensor_mm=sensor_mm, lens=lens)
    return Plate(straight, wide, high, *maps)


@lru_cache(maxsize=4)
def _straightened(
    lens: LensSpec, focal_px: float, width: int, height: int
) -> tuple[float, LensSpec, tuple[int, int], NDArray[np.float32]]:
    """Focal length, lens, size, and both maps (2, h, w) of a Plate. A station's cameras share them."""
    focal, middle = _focal_and_middle(lens, focal_px, width, height)
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    bent = (np.stack([columns.ravel(), rows.ravel()], axis=1) - middle) / focal
    flat = undistort(bent, lens.k)
    # Where the lens stretches, render finer by as much, so that no pixel is made of less than one.
    fine = min(2.0, max(1.0, _stretch(flat, bent, width, height)))
    spots = flat * focal * fine + middle
    # Whole pixels from the bent picture's corner: where the lens hardly bends, pixel falls on pixel.
    low, high = np.floor(spots.min(axis=0)) - 2, np.ceil(spots.max(axis=0)) + 2
    wide, tall = (int(v) for v in high - low)
    if wide * tall > _LARGEST * fine**2 * width * height:
        raise RecipeError(
            f"intrinsics: the lens bends so much that an undistorted picture has {wide} x {tall} pixels "
            f"for {width} x {height}; check k1, k2, p1, p2, k3, which go with fx and fy in pixels"
        )
    maps = np.ascontiguousarray((spots - low - 0.5).T, np.float32).reshape(2, height, width)
    shift = (float(middle[0] - low[0] - wide / 2), float(middle[1] - low[1] - tall / 2))
    return focal_px * fine, LensSpec(shift_px=shift, aspect=lens.aspect), (wide, tall), maps


def _stretch(flat: FloatArray, bent: FloatArray, width: int, height: int) -> float:
    """How much the lens stretches the picture at most, along rows and columns."""
    sides = []
    for axis in (0, 1):
        steps = [np.diff(p.reshape(height, width, 2), axis=1 - axis)[..., axis] for p in (flat, bent)]
        sides.append(float((steps[1] / steps[0]).max()))
    return max(sides)
