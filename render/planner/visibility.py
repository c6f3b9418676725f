"""Draws random points of surfaces that a camera sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from render.core.spec import CameraSpec, MeshSpec, ObjectSpec
from render.geometry.projection import project
from render.geometry.transforms import matrix, scale_of, to_world
from render.shapes.kernels.surface import FloatArray, IntArray, Surface

#: Points per sample. A slab of which one fiftieth is visible still gives about five visible points.
_POINTS = 512
#: Least cosine between the normal and the direction to the camera. Below it, a flaw shows as a line.
_FACING = 0.25


@dataclass(frozen=True, eq=False)
class VisiblePoints:
    """Points that a camera sees, in random order; their density is proportional to the cosine to the camera.

    which: (n,) number of the object.
    at, outward: (n, 3) point and normal, in the world.
    pixel_m: (n,) length that a pixel of the nearest camera covers at the point.
    margin_px: (n,) distance to the border of the image of the camera that faces the point best.
    """

    which: IntArray
    at: FloatArray
    outward: FloatArray
    pixel_m: FloatArray
    margin_px: FloatArray


class VisibleSurfaces:
    """The surfaces of objects as cameras see them, without occlusion, which the worker checks later."""

    def __init__(
        self,
        objects: Sequence[ObjectSpec],
        cameras: Sequence[CameraSpec],
        size: tuple[int, int],
        surface_of: Callable[[MeshSpec], Surface],
    ) -> None:
        """Compute the areas of all triangles; size: width and height of the images."""
        self._objects, self._cameras, self._size = objects, cameras, size
        self._surfaces = [surface_of(obj.mesh) for obj in objects]
        self.short_px = min(size)
        # Pairs of an object and the second longest side of its bounding box.
        spans = [float(np.sort(np.ptp(s.vertices, axis=0))[1]) for s in self._surfaces]
        self.spans = list(zip(objects, spans, strict=True))
        areas = [
            np.linalg.norm(s.normals, axis=1) * scale_of(o.pose) ** 2
            for o, s in zip(objects, self._surfaces, strict=True)
        ]
        self._first = np.cumsum([0] + [len(a) for a in areas])
        self._cumulative_area = np.cumsum(np.concatenate(areas)) if areas else np.zeros(0)

    def sample(self, rng: Generator) -> VisiblePoints:
        """Draw _POINTS random points; return those that a camera sees."""
        which, at, outward = self._random_points(rng)
        best = np.zeros(len(at))
        pixel, margin = np.full(len(at), np.inf), np.zeros(len(at))
        for camera in self._cameras:
            facing, pixel_m, inside = _camera_view(camera, self._size, at, outward)
            seen = (inside > 0) & (facing > _FACING)
            pixel[seen] = np.minimum(pixel, pixel_m)[seen]
            better = seen & (facing > best)
            best[better], margin[better] = facing[better], inside[better]
        # Keep points in proportion to the cosine, so that every pixel of the part is equally likely.
        visible = rng.uniform(size=len(at)) < best
        return VisiblePoints(which[visible], at[visible], outward[visible], pixel[visible], margin[visible])

    def _random_points(self, rng: Generator) -> tuple[IntArray, FloatArray, FloatArray]:
        """Draw points uniformly on all surfaces; return their objects, positions and outward normals."""
        if not len(self._cumulative_area) or self._cumulative_area[-1] <= 0:
            return np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3))
        flat = np.searchsorted(
            self._cumulative_area, rng.uniform(0, self._cumulative_area[-1], _POINTS), side="right"
        )
        flat = np.minimum(flat, len(self._cumulative_area) - 1)
        which = np.searchsorted(self._first, flat, side="right") - 1
        # Uniform on a triangle: Osada et al. 2002, eq. 1.
        root, slide = np.sqrt(rng.uniform(size=_POINTS)), rng.uniform(size=_POINTS)
        shares = np.stack([1 - root, root * (1 - slide), root * slide], axis=1)
        at, outward = np.empty((_POINTS, 3)), np.empty((_POINTS, 3))
        for number in np.unique(which):
            chosen = which == number
            surface, placed = self._surfaces[number], self._objects[number].pose
            triangle = flat[chosen] - self._first[number]
            corners = surface.vertices[surface.triangles[triangle]]
            at[chosen] = to_world(placed, (shares[chosen][:, :, None] * corners).sum(axis=1))
            normals = surface.normals[triangle] @ matrix(placed)[0].T
            outward[chosen] = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        return which, at, outward

    def to_own_frame(
        self, number: int, at: FloatArray, outward: FloatArray, reach: float
    ) -> tuple[FloatArray, FloatArray]:
        """Transform a world point to the object's frame; average the normals within `reach` (own units)."""
        linear, origin = matrix(self._objects[number].pose)
        scale = scale_of(self._objects[number].pose)
        turn = linear / scale
        point, normal = turn.T @ (at - origin) / scale, turn.T @ outward
        surface = self._surfaces[number]
        middles = surface.vertices[surface.triangles].mean(axis=1)
        lengths = np.linalg.norm(surface.normals, axis=1)
        near = (np.linalg.norm(middles - point, axis=1) < reach) & (surface.normals @ normal > 0.5 * lengths)
        mean = surface.normals[near].sum(axis=0)
        length = float(np.linalg.norm(mean))
        return point, normal if length == 0 else mean / length


def _camera_view(
    camera: CameraSpec, size: tuple[int, int], at: FloatArray, outward: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return, per point, cosine to the camera, metres per pixel, and distance to the image border.

    The distance is in pixels, and 0 for a point outside the image.
    """
    axes, eye = matrix(camera.pose)
    towards = eye - at
    distance = np.linalg.norm(towards, axis=1)
    facing = (towards * outward).sum(axis=1) / np.maximum(distance, 1e-12)
    depth = towards @ axes[:, 2]
    in_front = depth > 1e-6 * distance
    pixels = np.full((len(at), 2), -1.0)
    if in_front.any():
        pixels[in_front] = project(camera, *size, at[in_front])
    inside = np.minimum(pixels, np.array(size) - pixels).min(axis=1)
    return facing, depth / camera.focal_px, np.maximum(inside, 0.0)
