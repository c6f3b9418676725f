"""The pinhole camera as arithmetic: where it stands, where a point lands. Pixels: origin top left, x right.

Pixel (column i, row j) covers [i, i + 1] x [j, j + 1]. The sensor is SENSOR_MM wide, whatever the aspect.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.spec import CameraSpec

FloatArray = NDArray[np.float64]
SENSOR_MM = 36.0


def pose(camera: CameraSpec) -> tuple[FloatArray, FloatArray]:
    """Rotation (3, 3), columns right, up and backward in the world, and position (3,)."""
    ct, st = np.cos(camera.tilt_rad), np.sin(camera.tilt_rad)
    ca, sa = np.cos(camera.azimuth_rad), np.sin(camera.azimuth_rad)
    backward = np.array([st * ca, st * sa, ct])
    level = np.array([-sa, ca, 0.0])
    upward = np.cross(backward, level)
    cr, sr = np.cos(camera.roll_rad), np.sin(camera.roll_rad)
    right, up = cr * level + sr * upward, cr * upward - sr * level
    position = np.asarray(camera.target) + camera.distance_m * backward
    return np.stack([right, up, backward], axis=1), position


def project(camera: CameraSpec, width: int, height: int, points: FloatArray) -> FloatArray:
    """World points (n, 3) -> pixels (n, 2)."""
    axes, position = pose(camera)
    local = (points - position) @ axes
    scale = camera.focal_mm / SENSOR_MM * width / -local[:, 2]
    return np.stack([width / 2 + local[:, 0] * scale, height / 2 - local[:, 1] * scale], axis=1)


def on_table(camera: CameraSpec, width: int, height: int, pixel: FloatArray) -> FloatArray | None:
    """The point (3,) of the plane z = 0 that a pixel (2,) shows, or None at and above the horizon."""
    axes, position = pose(camera)
    focal_px = camera.focal_mm / SENSOR_MM * width
    ray = axes @ np.array([pixel[0] - width / 2, height / 2 - pixel[1], -focal_px])
    if ray[2] >= -1e-9:
        return None
    return np.asarray(position - ray * position[2] / ray[2])
