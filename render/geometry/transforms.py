"""Rotations, poses and convex outlines as arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from render.core.spec import Pose

FloatArray = NDArray[np.float64]


def footprint(points: FloatArray) -> FloatArray:
    """Convex outline (k, 2), counter-clockwise, of points (n, 3) seen from above."""
    flat = points[:, :2]
    try:
        return np.asarray(flat[ConvexHull(flat).vertices])
    except QhullError:  # all in a line: a strip of no width
        low, high = flat.min(axis=0), flat.max(axis=0)
        return np.array([low, (high[0], low[1]), high, (low[0], high[1])])


def pose(rotation: FloatArray, location: FloatArray, scale: float = 1.0) -> Pose:
    """The Pose of a thing scaled, then turned by (3, 3), then moved."""
    rows = np.concatenate([np.asarray(rotation) * scale, np.reshape(location, (3, 1))], axis=1)
    return tuple(float(v) for v in rows.ravel())  # type: ignore[return-value]  # twelve numbers


def matrix(placed: Pose) -> tuple[FloatArray, FloatArray]:
    """Linear part (3, 3) and translation (3,) of a Pose."""
    rows = np.reshape(placed, (3, 4))
    return rows[:, :3], rows[:, 3]


def to_world(placed: Pose, points: FloatArray) -> FloatArray:
    """Points (n, 3) of the thing's own frame in the world."""
    turn, at = matrix(placed)
    return np.asarray(points @ turn.T + at)


def scale_of(placed: Pose) -> float:
    """World metres per own unit of a Pose."""
    return float(np.linalg.norm(np.reshape(placed, (3, 4))[:, 0]))


def about(axis: FloatArray, angle_rad: float) -> FloatArray:
    """Rotation (3, 3) by an angle about a unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + np.sin(angle_rad) * cross + (1 - np.cos(angle_rad)) * cross @ cross)


def euler(degrees: tuple[float, float, float]) -> FloatArray:
    """Rotation (3, 3): about x, then y, then z."""
    x, y, z = np.radians(degrees)
    eye = np.eye(3)
    return np.asarray(about(eye[2], z) @ about(eye[1], y) @ about(eye[0], x))


def random_rotation(rng: np.random.Generator) -> FloatArray:
    """A rotation (3, 3), every orientation equally likely (Shoemake 1992: a random unit quaternion)."""
    w, x, y, z = (q := rng.standard_normal(4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
