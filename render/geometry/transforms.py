"""Rotations, poses and footprints."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from shapely import Geometry

from render.core.spec import Pose

FloatArray = NDArray[np.float64]


def footprint(points: FloatArray) -> Geometry:
    """Return the convex hull of points (n, 3) seen from above; a line or a point if it has no area."""
    # One line string is created several times as fast as many points.
    return shapely.convex_hull(shapely.linestrings(points[:, :2]))


def pose(rotation: FloatArray, location: FloatArray, scale: float = 1.0) -> Pose:
    """Return the Pose that scales, then rotates by (3, 3), then translates."""
    rows = np.concatenate([np.asarray(rotation) * scale, np.reshape(location, (3, 1))], axis=1)
    return tuple(float(v) for v in rows.ravel())  # type: ignore[return-value]  # twelve numbers


def matrix(placed: Pose) -> tuple[FloatArray, FloatArray]:
    """Return the linear part (3, 3) and the translation (3,) of a Pose."""
    rows = np.array(placed, np.float64).reshape(3, 4)
    return rows[:, :3], rows[:, 3]


def to_world(placed: Pose, points: FloatArray) -> FloatArray:
    """Transform points (n, 3) from the object's frame to the world."""
    linear, translation = matrix(placed)
    return np.asarray(points @ linear.T + translation)


def scale_of(placed: Pose) -> float:
    """Return the metres per unit of the object's frame."""
    return float(np.linalg.norm(np.reshape(placed, (3, 4))[:, 0]))


def about(axis: FloatArray, angle_rad: float) -> FloatArray:
    """Return the rotation (3, 3) by an angle about a unit axis."""
    return np.asarray(Rotation.from_rotvec(np.asarray(axis) * angle_rad).as_matrix())


def euler(degrees: tuple[float, float, float]) -> FloatArray:
    """Return the rotation (3, 3) about the fixed axes x, then y, then z."""
    return np.asarray(Rotation.from_euler("xyz", degrees, degrees=True).as_matrix())


def random_rotation(rng: np.random.Generator) -> FloatArray:
    """Draw a uniformly distributed rotation (3, 3). Source: Shoemake 1992, a random unit quaternion."""
    return np.asarray(Rotation.from_quat(rng.standard_normal(4)).as_matrix())
