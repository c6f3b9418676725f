"""Squares on a table that do not overlap: where dice and distractors go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from render.projection import on_table
from render.spec import CameraSpec, TraySpec

#: Tries for a free place before a die is left out; 25 dice in a crowded tray need about 10 each.
TRIES = 80


@dataclass(frozen=True)
class Square:
    """A square footprint: centre and half its edge in metres, yaw in radians."""

    x: float
    y: float
    half: float
    yaw: float

    def corners(self) -> NDArray[np.float64]:
        """(4, 2)."""
        c, s = np.cos(self.yaw) * self.half, np.sin(self.yaw) * self.half
        around = np.array([[c - s, s + c], [-c - s, -s + c], [-c + s, -s - c], [c + s, s - c]])
        return np.asarray(around + np.array([self.x, self.y]))


def overlap(a: Square, b: Square, gap: float) -> bool:
    """Whether two squares come closer than `gap` along all their sides' normals (separating axes)."""
    for yaw in (a.yaw, a.yaw + np.pi / 2, b.yaw, b.yaw + np.pi / 2):
        axis = np.array([np.cos(yaw), np.sin(yaw)])
        pa, pb = a.corners() @ axis, b.corners() @ axis
        if pa.min() >= pb.max() + gap or pb.min() >= pa.max() + gap:
            return False
    return True


def inside(square: Square, tray: TraySpec) -> bool:
    """Whether the square lies wholly on the tray's floor."""
    c, s = np.cos(-tray.yaw_rad), np.sin(-tray.yaw_rad)
    local = square.corners() @ np.array([[c, s], [-s, c]])
    return bool((np.abs(local) <= np.array(tray.inner_m) / 2).all())


@dataclass(frozen=True)
class Window:
    """The part of a picture things may land in: pixels x0, y0, x1, y1."""

    x0: float
    y0: float
    x1: float
    y1: float


def window(width: int, height: int, spread: float, rng: Generator) -> Window:
    """A window of `spread` times the picture's sides, at a random place in it."""
    x0, y0 = rng.uniform(0, 1 - spread, 2) * (width, height)
    return Window(x0, y0, x0 + spread * width, y0 + spread * height)


@dataclass(frozen=True)
class Ground:
    """What a place must satisfy: seen by the camera inside the window, in the tray if there is one."""

    camera: CameraSpec
    width: int
    height: int
    window: Window
    tray: TraySpec | None


def place(
    ground: Ground, half: float, yaw: float, gap: float, taken: list[Square], rng: Generator
) -> Square | None:
    """A free place for one square, or None after TRIES; the caller adds it to `taken`."""
    w = ground.window
    for _ in range(TRIES):
        pixel = np.array([rng.uniform(w.x0, w.x1), rng.uniform(w.y0, w.y1)])
        point = on_table(ground.camera, ground.width, ground.height, pixel)
        if point is None:
            continue
        square = Square(float(point[0]), float(point[1]), half, yaw)
        if ground.tray is not None and not inside(square, ground.tray):
            continue
        if not any(overlap(square, other, gap) for other in taken):
            return square
    return None
