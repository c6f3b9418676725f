"""Places objects without overlap: convex footprints on the ground, or bounding spheres in the air."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.random import Generator
from shapely import Geometry, affinity

from render.core.spec import CameraSpec, Vector
from render.geometry.projection import on_ground, ray
from render.geometry.transforms import FloatArray, footprint, matrix

#: Part of the image in which objects are placed: two opposite corners (2,), in pixels.
Window = tuple[FloatArray, FloatArray]


def tray_floor(inner_m: tuple[float, float], yaw_rad: float) -> Geometry:
    """Return the floor of a tray around the origin: a rectangle of sides `inner_m`, rotated about z."""
    x, y = inner_m[0] / 2, inner_m[1] / 2
    return affinity.rotate(shapely.box(-x, -y, x, y), yaw_rad, (0, 0), use_radians=True)


def window(width: int, height: int, spread: float, rng: Generator) -> Window:
    """Return a window of `spread` times the sides of the image.

    Its position in the image is random. A window larger than the image is centred.
    """
    size = np.array([width, height])
    low = rng.uniform(0, 1, 2) * max(0.0, 1 - spread) * size
    if spread > 1:
        low = (1 - spread) / 2 * size
    return low, low + spread * size


@dataclass(eq=False)
class GroundArea:
    """Area of the ground for objects that must not overlap.

    window: part of the image in which the objects are placed.
    tray: floor that must contain the footprints, or None.
    tries: positions tried per object.
    taken: footprints of the objects placed so far.
    """

    camera: CameraSpec
    width: int
    height: int
    window: Window
    tray: Geometry | None
    tries: int
    taken: list[Geometry] = field(default_factory=list)

    def place(self, hull: FloatArray, gap: float, rng: Generator) -> Vector | None:
        """Return a translation to a free position on the ground, and reserve it; None after `tries`.

        hull: (k, 3) corners of the body.
        gap: least distance to other footprints, metres.
        """
        body = footprint(hull)
        x0, y0, x1, y1 = body.bounds
        pixels = rng.uniform(*self.window, (self.tries, 2))
        for point in on_ground(self.camera, self.width, self.height, pixels):
            if not np.isfinite(point).all():
                continue
            shift = point[:2] - ((x0 + x1) / 2, (y0 + y1) / 2)
            moved = shapely.transform(body, lambda corners, by=shift: corners + by)
            if self.tray is not None and not self.tray.covers(moved):
                continue
            if not shapely.dwithin(moved, self.taken, gap).any():
                self.taken.append(moved)
                return (float(shift[0]), float(shift[1]), -float(hull[:, 2].min()))
        return None


@dataclass(eq=False)
class AirArea:
    """Space for bounding spheres that must not overlap.

    Their centres lie in the window, at distances within `depth_m` / 2 of `distance_m`.
    """

    camera: CameraSpec
    width: int
    height: int
    window: Window
    distance_m: float
    depth_m: float
    tries: int
    taken: list[tuple[FloatArray, float]] = field(default_factory=list)

    def place(self, hull: FloatArray, gap: float, rng: Generator) -> Vector | None:
        """Return a free translation for the bounding sphere of a body, and reserve it; None after `tries`."""
        radius = float(np.linalg.norm(hull, axis=1).max())
        pixels = rng.uniform(*self.window, (self.tries, 2))
        depths = self.distance_m + rng.uniform(-0.5, 0.5, self.tries) * self.depth_m
        axes, eye = matrix(self.camera.pose)
        rays = ray(self.camera, self.width, self.height, pixels)
        along = rays @ -axes[:, 2]
        for direction, step, depth in zip(rays, along, depths, strict=True):
            if depth <= radius:
                continue
            centre = eye + direction * (depth / step)
            if all(np.linalg.norm(centre - c) >= radius + r + gap for c, r in self.taken):
                self.taken.append((centre, radius))
                return (float(centre[0]), float(centre[1]), float(centre[2]))
        return None


#: Where the parts of a scene may be placed; None: all at the origin.
PlacementArea = GroundArea | AirArea | None
