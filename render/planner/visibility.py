"""Visible points: random points of surfaces, and what each camera sees of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from render.core.spec import CameraSpec, MeshSpec, ObjectSpec
from render.geometry.projection import project
from render.geometry.transforms import matrix, scale_of, to_world
from render.shapes.kernels.surface import FloatArray, IntArray, Surface

#: Points per sample: a slab of which a fiftieth is visible still gives about five.
_POINTS = 512
#: Least cosine between a surface's normal and the direction to the camera; flatter, a flaw is a line.
_FACING = 0.25


@dataclass(frozen=True, eq=False)
class VisiblePoints:
    """Points that a camera sees, in random order, with a density in proportion to the cosine.

    which: (n,) number of the object.  at, outward: (n, 3) world.  pixel_m: (n,) what a pixel of the nearest
    camera covers there.  margin_px: (n,) distance to that picture's border.
    """

    which: IntArray
    at: FloatArray
    outward: FloatArray
    pixel_m: FloatArray
    margin_px: FloatArray


class VisibleSurfaces:
    """Surfaces of some objects as some cameras see them; occlusion is left to the verification."""

    def __init__(
        self,
        objects: Sequence[ObjectSpec],
        cameras: Sequence[CameraSpec],
        size: tuple[int, int],
        surface_of: Callable[[MeshSpec], Surface],
    ) -> None:
        """size: width and height of the images."""
        self._objects, self._cameras, self._size = objects, cameras, size
        self._surfaces = [surface_of(thing.mesh) for thing in objects]
        self.short_px = min(size)
        # Each object with the second longest side of its bounding box.
        spans = [float(np.sort(np.ptp(s.vertices, axis=0))[1]) for s in self._surfaces]
        self.spans = list(zip(objects, spans, strict=True))
        areas = [
            np.linalg.norm(s.normals, axis=1) * scale_of(o.pose) ** 2
            for o, s in zip(objects, self._surfaces, strict=True)
        ]
        self._first = np.cumsum([0] + [len(a) for a in areas])
        self._chance = np.cumsum(np.concatenate(areas)) if areas else np.zeros(0)

    def sample(self, rng: Generator) -> VisiblePoints:
        """Return those of _POINTS random points that a camera sees."""
        which, at, outward = self._random_points(rng)
        best = np.zeros(len(at))
        pixel, margin = np.full(len(at), np.inf), np.zeros(len(at))
        for camera in self._cameras:
            facing, covers, inside = _seen(camera, self._size, at, outward)
            seen = (inside > 0) & (facing > _FACING)
            pixel[seen] = np.minimum(pixel, covers)[seen]
            better = seen & (facing > best)
            best[better], margin[better] = facing[better], inside[better]
        # Kept in proportion to the cosine: a flaw then is as likely on any pixel of the part.
        visible = rng.uniform(size=len(at)) < best
        return VisiblePoints(which[visible], at[visible], outward[visible], pixel[visible], margin[visible])

    def _random_points(self, rng: Generator) -> tuple[IntArray, FloatArray, FloatArray]:
        """Object, point and outward normal of points spread evenly over all surfaces."""
        if not len(self._chance) or self._chance[-1] <= 0:
            return np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3))
        flat = np.searchsorted(self._chance, rng.uniform(0, self._chance[-1], _POINTS), side="right")
        flat = np.minimum(flat, len(self._chance) - 1)
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
        """Transform a world point to the object's frame; average the normal within `reach` (own units)."""
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


def _seen(
    camera: CameraSpec, size: tuple[int, int], at: FloatArray, outward: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Per point: cosine to the camera, metres a pixel covers there, pixels to the border (0: not in it)."""
    axes, eye = matrix(camera.pose)
    towards = eye - at
    distance = np.linalg.norm(towards, axis=1)
    facing = (towards * outward).sum(axis=1) / np.maximum(distance, 1e-12)
    depth = towards @ axes[:, 2]
    before = depth > 1e-6 * distance
    pixels = np.full((len(at), 2), -1.0)
    if before.any():
        pixels[before] = project(camera, *size, at[before])
    inside = np.minimum(pixels, np.array(size) - pixels).min(axis=1)
    return facing, depth / camera.focal_px, np.maximum(inside, 0.0)
