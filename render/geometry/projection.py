"""Camera model: from points to pixels, and from pixels to rays.

Pixel coordinates start at the image's upper left corner, x right, y down: pixel (column i, row j) covers
[i, i + 1] x [j, j + 1]. OpenCV's coordinates count from the centre of the first pixel, so they are 0.5 less.
The principal point is (width / 2, height / 2) + lens.shift_px. "Flat" coordinates are OpenCV's normalised
image coordinates: on the plane one metre in front of the camera, x right and y down, before lens distortion.
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

#: Near clipping distance of a camera, in metres.
NEAR_M = 1e-4
_Coefficients = tuple[float, float, float, float, float]
#: A lens is refused if its undistorted image has more than this many times the pixels of the image.
_MAX_PIXEL_RATIO = 12.0


def to_camera(camera: CameraSpec, points: FloatArray) -> FloatArray:
    """Transform world points (n, 3) to the camera's frame (n, 3): right, down and forward, in metres."""
    axes, position = matrix(camera.pose)
    x, y, z = (np.asarray(points, np.float64) - position).T
    # Not a matrix product: its result for a point may depend on the position of the point in the array.
    right, up, back = (x * a + y * b + z * c for a, b, c in axes.T)
    return np.stack([right, -up, -back], axis=1)


def project(camera: CameraSpec, width: int, height: int, points: FloatArray) -> FloatArray:
    """Project world points (n, 3) to pixels (n, 2), also outside the image; NaN behind the camera."""
    local = to_camera(camera, points)
    depth = np.where(local[:, 2] > NEAR_M, local[:, 2], np.nan)
    return to_pixels(camera, width, height, local[:, :2] / depth[:, None])


def to_pixels(camera: CameraSpec, width: int, height: int, flat: FloatArray) -> FloatArray:
    """Convert flat coordinates (n, 2) to pixels (n, 2)."""
    focal, middle = _focal_and_principal_point(camera.lens, camera.focal_px, width, height)
    return np.asarray(distort(flat, camera.lens.k) * focal + middle)


def ray(camera: CameraSpec, width: int, height: int, pixels: FloatArray) -> FloatArray:
    """Return the unit directions (n, 3), in the world, of the rays through pixels (n, 2)."""
    focal, middle = _focal_and_principal_point(camera.lens, camera.focal_px, width, height)
    flat = undistort((np.asarray(pixels, np.float64) - middle) / focal, camera.lens.k)
    axes, _ = matrix(camera.pose)
    local = np.stack([flat[:, 0], -flat[:, 1], -np.ones(len(flat))], axis=1)
    return np.asarray(local / np.linalg.norm(local, axis=1, keepdims=True) @ axes.T)


def on_ground(camera: CameraSpec, width: int, height: int, pixels: FloatArray) -> FloatArray:
    """Return the points (n, 3) of the plane z = 0 that pixels (n, 2) show; NaN at and above the horizon."""
    direction = ray(camera, width, height, pixels)
    _, position = matrix(camera.pose)
    reached = direction[:, 2] * np.sign(-position[2]) > 1e-9
    steps = np.divide(-position[2], direction[:, 2], out=np.full(len(direction), np.nan), where=reached)
    return np.asarray(position + steps[:, None] * direction)


def distort(flat: FloatArray, k: _Coefficients) -> FloatArray:
    """Apply lens distortion to flat coordinates (n, 2): k1, k2, p1, p2, k3 of OpenCV's model.

    Beyond the radius at which the polynomial is no longer monotonic, which no real lens reaches, it is
    continued linearly. So a point far outside the image is never mapped into the image.
    """
    if not any(k):
        return np.asarray(flat, np.float64)
    radius = np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-300)
    return np.asarray(flat * (_radial(radius, k)[0] / radius) + _tangential(flat, radius, k))


def undistort(distorted: FloatArray, k: _Coefficients) -> FloatArray:
    """Invert `distort` to 1e-12: Newton's method along the radius, iteration for the tangential part."""
    if not any(k):
        return np.asarray(distorted, np.float64)
    flat = np.asarray(distorted, np.float64)
    for _ in range(12 if k[2] or k[3] else 1):
        radius = np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-300)
        target = distorted - _tangential(flat, radius, k)
        length = np.maximum(np.linalg.norm(target, axis=1, keepdims=True), 1e-300)
        flat = target * (_undistorted_radius(length, k) / length)
    return flat


def _radial(radius: FloatArray, k: _Coefficients) -> tuple[FloatArray, FloatArray]:
    """Return the distorted radius and its derivative."""
    limit = _limit(k)
    inside = np.minimum(radius, limit)
    s = inside * inside
    slope = 1 + s * (3 * k[0] + s * (5 * k[1] + s * 7 * k[4]))
    return inside * (1 + s * (k[0] + s * (k[1] + s * k[4]))) + (radius - inside) * slope, slope


def _undistorted_radius(distorted: FloatArray, k: _Coefficients) -> FloatArray:
    radius = np.minimum(distorted, _limit(k))
    for _ in range(50):
        value, slope = _radial(radius, k)
        step = (distorted - value) / slope
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
    """Return a radius just below the one at which the polynomial stops increasing; at most 1e3."""
    roots = np.roots([7 * k[4], 5 * k[1], 3 * k[0], 1.0])
    turning = [r.real for r in roots if abs(r.imag) < 1e-9 and r.real > 0]
    return min(1e3, 0.95 * float(np.sqrt(min(turning)))) if turning else 1e3


def _focal_and_principal_point(
    lens: LensSpec, focal_px: float, width: int, height: int
) -> tuple[FloatArray, FloatArray]:
    focal = np.array([focal_px, focal_px * lens.aspect])
    return focal, np.array([width / 2 + lens.shift_px[0], height / 2 + lens.shift_px[1]])


@dataclass(frozen=True, eq=False)
class UndistortedView:
    """An undistorted view, from which the image with lens distortion is resampled.

    camera: without distortion, for an image of width x height pixels.
    map_x, map_y: (h, w) for each pixel of the distorted image, its position in the undistorted image, as
        cv2.remap expects it.
    """

    camera: CameraSpec
    width: int
    height: int
    map_x: NDArray[np.float32]
    map_y: NDArray[np.float32]


def undistorted_view(camera: CameraSpec, width: int, height: int) -> UndistortedView | None:
    """Return the view to render for a camera with lens distortion; None if the camera has none."""
    if not any(camera.lens.k):
        return None
    focal_px, lens, (wide, high), maps = _undistorted_parameters(camera.lens, camera.focal_px, width, height)
    # Keep the focal length in millimetres, on which focus blur depends.
    sensor_mm = camera.sensor_mm * (wide / width) * (camera.focal_px / focal_px)
    undistorted = msgspec.structs.replace(camera, focal_px=focal_px, sensor_mm=sensor_mm, lens=lens)
    return UndistortedView(undistorted, wide, high, *maps)


@lru_cache(maxsize=4)
def _undistorted_parameters(
    lens: LensSpec, focal_px: float, width: int, height: int
) -> tuple[float, LensSpec, tuple[int, int], NDArray[np.float32]]:
    """Return focal length, lens, size and both maps (2, h, w) of an UndistortedView.

    All views of one camera share them.
    """
    focal, middle = _focal_and_principal_point(lens, focal_px, width, height)
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    distorted = (np.stack([columns.ravel(), rows.ravel()], axis=1) - middle) / focal
    flat = undistort(distorted, lens.k)
    # Where the lens stretches the image, render at a higher resolution, so that no pixel is enlarged.
    fine = min(2.0, max(1.0, _stretch(flat, distorted, width, height)))
    spots = flat * focal * fine + middle
    # Shift by whole pixels: where there is almost no distortion, the pixels of both images coincide.
    low, high = np.floor(spots.min(axis=0)) - 2, np.ceil(spots.max(axis=0)) + 2
    wide, tall = (int(v) for v in high - low)
    if wide * tall > _MAX_PIXEL_RATIO * fine**2 * width * height:
        raise RecipeError(
            f"intrinsics: the distortion is so strong that an undistorted image has {wide} x {tall} pixels "
            f"for {width} x {height}; check k1, k2, p1, p2, k3, and that fx and fy are in pixels"
        )
    maps = np.ascontiguousarray((spots - low - 0.5).T, np.float32).reshape(2, height, width)
    shift = (float(middle[0] - low[0] - wide / 2), float(middle[1] - low[1] - tall / 2))
    return focal_px * fine, LensSpec(shift_px=shift, aspect=lens.aspect), (wide, tall), maps


def _stretch(flat: FloatArray, distorted: FloatArray, width: int, height: int) -> float:
    """Return the greatest factor by which the lens stretches the image, along rows or columns."""
    sides = []
    for axis in (0, 1):
        steps = [np.diff(p.reshape(height, width, 2), axis=1 - axis)[..., axis] for p in (flat, distorted)]
        sides.append(float((steps[1] / steps[0]).max()))
    return max(sides)
