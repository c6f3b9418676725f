"""Where things go without touching: convex footprints on the ground, or balls in the air."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from render.core.spec import CameraSpec, Vector
from render.geometry.projection import on_plane, ray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Footprint:
    """A convex outline on the ground, (k, 2) metres, and the circle around it."""

    outline: FloatArray
    centre: FloatArray
    radius: float

    @classmethod
    def around(cls, outline: FloatArray) -> Footprint:
        """The footprint of an outline."""
        centre = (outline.min(axis=0) + outline.max(axis=0)) / 2
        return cls(outline, centre, float(np.linalg.norm(outline - centre, axis=1).max()))

    def moved(self, by: FloatArray) -> Footprint:
        """The same footprint elsewhere."""
        return Footprint(self.outline + by, self.centre + by, self.radius)


def closer_than(a: Footprint, b: Footprint, gap: float) -> bool:
    """Whether two footprints overlap or come closer than `gap` along all their sides' normals.

    Separating axes: exact for touching, and never too lenient for the gap.
    """
    if np.linalg.norm(a.centre - b.centre) >= a.radius + b.radius + gap:
        return False
    sides = np.concatenate([np.roll(f.outline, -1, axis=0) - f.outline for f in (a, b)])
    lengths = np.linalg.norm(sides, axis=1)
    normals = (sides / np.maximum(lengths, 1e-12)[:, None])[:, ::-1] * (1.0, -1.0)
    normals = normals[lengths > 1e-12]
    pa, pb = a.outline @ normals.T, b.outline @ normals.T
    apart = (pa.min(axis=0) >= pb.max(axis=0) + gap) | (pb.min(axis=0) >= pa.max(axis=0) + gap)
    return not bool(apart.any())


@dataclass(frozen=True)
class Tray:
    """The floor of an open box around the origin: its sides in metres, its turn about the vertical."""

    inner_m: tuple[float, float]
    yaw_rad: float

    def holds(self, footprint: Footprint) -> bool:
        """Whether the footprint lies wholly on the floor."""
        c, s = np.cos(-self.yaw_rad), np.sin(-self.yaw_rad)
        local = footprint.outline @ np.array([[c, s], [-s, c]])
        return bool((np.abs(local) <= np.array(self.inner_m) / 2).all())


@dataclass(frozen=True)
class Window:
    """The part of a picture things may land in: pixels x0, y0, x1, y1."""

    x0: float
    y0: float
    x1: float
    y1: float


def window(width: int, height: int, spread: float, rng: Generator) -> Window:
    """A window of `spread` times the picture's sides, at a random place in it (centred when larger)."""
    slack = max(0.0, 1 - spread)
    x0, y0 = rng.uniform(0, 1, 2) * slack * (width, height)
    if spread > 1:
        x0, y0 = (1 - spread) / 2 * width, (1 - spread) / 2 * height
    return Window(x0, y0, x0 + spread * width, y0 + spread * height)


@dataclass(eq=False)
class Ground:
    """Where things may lie: seen by the camera inside the window, in the tray if there is one, apart."""

    camera: CameraSpec
    width: int
    height: int
    window: Window
    tray: Tray | None
    tries: int
    taken: list[Footprint] = field(default_factory=list)

    def place(self, footprint: Footprint, gap: float, rng: Generator) -> FloatArray | None:
        """A free place (2,) to move a footprint to, now taken; None after `tries`."""
        w = self.window
        pixels = rng.uniform((w.x0, w.y0), (w.x1, w.y1), (self.tries, 2))
        for point in on_plane(self.camera, self.width, self.height, pixels):
            if not np.isfinite(point).all():
                continue
            moved = footprint.moved(point[:2] - footprint.centre)
            if self.tray is not None and not self.tray.holds(moved):
                continue
            if not any(closer_than(moved, other, gap) for other in self.taken):
                self.taken.append(moved)
                return np.asarray(point[:2] - footprint.centre)
        return None


@dataclass(eq=False)
class Air:
    """Where things may float: inside the window, within `depth_m` about the target's distance, apart."""

    camera: CameraSpec
    width: int
    height: int
    window: Window
    distance_m: float
    depth_m: float
    tries: int
    taken: list[tuple[FloatArray, float]] = field(default_factory=list)

    def place(self, radius: float, gap: float, rng: Generator) -> Vector | None:
        """A free centre for a ball, now taken; None after `tries`."""
        w = self.window
        pixels = rng.uniform((w.x0, w.y0), (w.x1, w.y1), (self.tries, 2))
        depths = self.distance_m + rng.uniform(-0.5, 0.5, self.tries) * self.depth_m
        at = np.reshape(self.camera.pose, (3, 4))
        rays = ray(self.camera, self.width, self.height, pixels)
        along = rays @ -at[:, 2]
        for direction, step, depth in zip(rays, along, depths, strict=True):
            if depth <= radius:
                continue
            centre = at[:, 3] + direction * (depth / step)
            if all(np.linalg.norm(centre - c) >= radius + r + gap for c, r in self.taken):
                self.taken.append((centre, radius))
                return (float(centre[0]), float(centre[1]), float(centre[2]))
        return None
