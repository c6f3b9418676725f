"""What the plan needs to know of a mesh: its surface, how it stands, how wide it is."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

import msgspec
import numpy as np
from scipy.spatial import ConvexHull, QhullError

from render.assets.load import stored_surface
from render.core.spec import MeshSpec
from render.geometry.resting_poses import resting
from render.geometry.transforms import FloatArray
from render.shapes import build_surface
from render.shapes.kernels.surface import Rest, Surface


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
    return _body(tuple(msgspec.json.encode(mesh, order="sorted") for mesh in meshes))


@lru_cache(maxsize=512)
def _body(meshes: tuple[bytes, ...]) -> Body:
    surfaces = [surface_of(msgspec.json.decode(mesh, type=MeshSpec)) for mesh in meshes]
    points = np.concatenate([surface.vertices for surface in surfaces])
    with contextlib.suppress(QhullError):  # a flat sheet has none
        points = points[ConvexHull(points).vertices]
    return Body(points, float(np.linalg.norm(points, axis=1).max()))
