"""Draws position and direction of the cameras."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from render.core.spec import CameraSpec, LensSpec
from render.geometry.transforms import FloatArray, about, pose
from render.recipe.distributions import draw
from render.recipe.tables import Camera


def aim(camera: Camera, width: int, height: int, rng: Generator) -> tuple[CameraSpec, float]:
    """Draw one view of a camera; return it and the working distance in metres."""
    focal_px = draw(camera.focal_mm, rng) / camera.sensor_mm * width
    if camera.intrinsics is not None:
        focal_px = camera.intrinsics.fx * width / camera.intrinsics.width
    view = draw(camera.view_m, rng)
    distance = view * focal_px / width
    if camera.distance_m is not None:
        distance = draw(camera.distance_m, rng)
        view = distance * width / focal_px
    target = np.array([draw(v, rng) for v in camera.look_at_m])
    target[:2] += [view * draw(camera.offset, rng), view * draw(camera.offset, rng)]
    if camera.position_m is None:
        # At tilt 0 the camera is straight above the target; with tilt it moves towards the azimuth.
        tilt, azimuth = np.radians([draw(camera.tilt_deg, rng), draw(camera.azimuth_deg, rng)])
        backward = np.array([np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), np.cos(tilt)])
        position = target + distance * backward
    else:
        position = np.array([draw(v, rng) for v in camera.position_m])
        backward = position - target
        distance = float(np.linalg.norm(backward))
        backward = backward / max(distance, 1e-12)
    axes = _axes(backward, np.radians(draw(camera.roll_deg, rng)))
    position = position + rng.standard_normal(3) * draw(camera.jitter_m, rng)
    turn = rng.standard_normal(3) * np.radians(draw(camera.jitter_deg, rng))
    axes = about(turn, 1.0) @ axes
    f_number = None if camera.f_number is None else draw(camera.f_number, rng)
    return CameraSpec(
        name=camera.name,
        pose=pose(axes, position),
        focal_px=focal_px,
        sensor_mm=camera.sensor_mm,
        f_number=f_number,
        focus_m=None if f_number is None else max(1e-4, distance - draw(camera.focus_m, rng)),
        lens=_lens(camera, width, height),
    ), distance


def _lens(camera: Camera, width: int, height: int) -> LensSpec:
    i = camera.intrinsics
    if i is None:
        return LensSpec()
    across, down = width / i.width, height / i.height
    return LensSpec(
        k=(i.k1, i.k2, i.p1, i.p2, i.k3),
        # OpenCV counts from the centre of the first pixel, this package from its corner.
        shift_px=((i.cx + 0.5) * across - width / 2, (i.cy + 0.5) * down - height / 2),
        aspect=(i.fy * down) / (i.fx * across),
    )


def _axes(backward: FloatArray, roll_rad: float) -> FloatArray:
    """Return (3, 3), columns right, up and backward; the horizon is level if roll is 0."""
    level = np.array([-backward[1], backward[0], 0.0])
    if np.linalg.norm(level) < 1e-9:  # straight down: the axes of azimuth -90°, the front
        level = np.array([1.0, 0.0, 0.0])
    level /= np.linalg.norm(level)
    upward = np.cross(backward, level)
    c, s = np.cos(roll_rad), np.sin(roll_rad)
    return np.stack([c * level + s * upward, c * upward - s * level, backward], axis=1)
