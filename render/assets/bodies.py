"""What the plan needs to know of a mesh: its surface, how it stands, how wide it is."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from render.assets.load import stored_surface
from render.core.spec import MeshSpec, Pose
from render.geometry.resting_poses import resting
from render.shapes import build_surface
from render.shapes.kernels.surface import Rest, Surface

FloatArray = NDArray[np.float64]


def surface_of(mesh: MeshSpec) -> Surface:
    """The surface a MeshSpec names, in its own units; glyphs exist in the worker only."""
    if mesh.file:
        return stored_surface(mesh.file, mesh.component)
    return build_surface(mesh.shape, mesh.form, mesh.component)


@dataclass(frozen=True, eq=False)
class Body:
    """One or more surfaces that move together. hull: (k, 3) corners of their convex hull; radius about 0."""

    hull: FloatArray
    radius: float

    @cached_property
    def rests(self) -> tuple[Rest, ...]:
        """How it lies when dropped, as if it were solid and convex."""
        return resting(self.hull)


def body_of(meshes: tuple[MeshSpec, ...]) -> Body:
    """The convex body around the meshes, in their own units."""
    return _body(tuple((m.shape, tuple(sorted(m.form.items())), m.file, m.component) for m in meshes))


@lru_cache(maxsize=512)
def _body(keys: tuple[tuple[str, tuple[tuple[str, float], ...], str, str], ...]) -> Body:
    points = np.concatenate(
        [
            surface_of(MeshSpec(shape=shape, form=dict(form), file=file, component=component)).vertices
            for shape, form, file, component in keys
        ]
    )
    with contextlib.suppress(QhullError):  # a flat sheet has none
        points = points[ConvexHull(points).vertices]
    return Body(points, float(np.linalg.norm(points, axis=1).max()))


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
