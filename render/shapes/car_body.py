"""The body of a car as an implicit function. Unit: overall length; x forward, y left, z up.

The ground is z = 0, and the middle of the car is x = 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from render.shapes.kernels.implicit import Outline, blended_max, blended_min, curve
from render.shapes.kernels.surface import FloatArray

#: Distance from the nose to the front axle, in lengths; the wheelbase gives the rear axle.
_OVERHANG = 0.185


class Lines:
    """The car's main measures, in lengths.

    front, rear: x of the axles.
    arch: radius of the wheel arches.
    cowl: x of the lower edge of the windshield.
    roof: x of the roof at the back and at the front.
    belt: height of the lower edge of the side windows.
    pillar: x where the doors meet.
    """

    def __init__(self, form: Mapping[str, float]) -> None:
        """Compute the measures from the values of a form."""
        self.height, self.width, self.wheel = form["height"], form["width"], form["wheel"]
        self.clearance, self.deck, self.slope = form["clearance"], form["deck"], form["slope"]
        self.front = 0.5 - _OVERHANG
        self.rear = self.front - form["wheelbase"]
        self.arch = 1.14 * self.wheel
        self.cowl = 0.5 - form["hood"]
        roof = self.cowl - 0.165
        # The roof is at least a fifth of the car long.
        self.roof = min(-0.5 + self.deck + self.slope, roof - 0.2), roof
        self.belt = 0.675 * self.height
        self.pillar = 0.5 * (self.front + self.rear) - 0.045


class Body:
    """The closed body: lower half and cabin, blended. Called with points (n, 3); negative inside."""

    def __init__(self, lines: Lines) -> None:
        """Tabulate the outlines seen from the side, from above and from the front."""
        self.lines = lines
        self.side = Outline(curve(_side(lines)))
        self.above = Outline(curve(_above(lines)))
        self.facing = Outline(curve(_facing(lines)))
        self.cabin = Outline(curve(_cabin(lines)))
        self.lean = Outline(curve(_lean(lines)))

    def __call__(self, points: FloatArray) -> FloatArray:
        """Return the values at points (n, 3)."""
        x, y, z = points.T
        return blended_min(self._lower(x, y, z), self._upper(x, y, z), 0.012)

    def _lower(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        away = y / self.lines.width
        profile = self.side(x, z + 0.035 * away**2 * np.clip(z / self.lines.height, 0, 1))
        # The sections narrow towards both ends, so that the fenders follow the outline seen from above.
        wide = 1 + 0.5 * np.clip(np.abs(x) - 0.25, 0, None) ** 2
        section = self.facing(np.abs(y) * wide, z)
        hull = blended_max(blended_max(profile, self.above(x, np.abs(y)), 0.03), section, 0.03)
        return hull - 0.004 * self._flare(x, z)

    def _flare(self, x: FloatArray, z: FloatArray) -> FloatArray:
        """Return 1 at the edge of a wheel arch, and 0 away from it."""
        near = np.minimum(self.from_axle(x, z, self.lines.front), self.from_axle(x, z, self.lines.rear))
        return np.asarray(np.exp(-((np.maximum(near, 0) / 0.018) ** 2)))

    def from_axle(self, x: FloatArray, z: FloatArray, axle: float) -> FloatArray:
        """Return the distance from the wheel arch around an axle, negative inside it."""
        return np.asarray(np.hypot(x - axle, z - self.lines.wheel) - self.lines.arch)

    def _upper(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        middle = sum(self.lines.roof) / 2
        profile = self.cabin(self.wrapped(x, y), z + 0.25 * y**2)
        narrow = (
            1 + 0.9 * np.clip(middle - 0.05 - x, 0, None) ** 2 + 0.5 * np.clip(x - middle - 0.1, 0, None) ** 2
        )
        return blended_max(profile, self.lean(np.asarray(np.abs(y) * narrow), z), 0.022)

    def wrapped(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Map x to the plane of symmetry; seen from above, windshield and rear window bulge outward."""
        middle = sum(self.lines.roof) / 2
        return middle + (x - middle) * (1 + 1.1 * y**2)

    def windows(self, points: FloatArray) -> FloatArray:
        """Return the distance from the outline of all side windows together, negative inside it."""
        return self.cabin(points[:, 0], points[:, 2] + 0.25 * points[:, 1] ** 2)


def _side(m: Lines) -> list[tuple[float, float]]:
    """Return the lower body seen from the side (x, z), counter-clockwise from the lower rear bumper."""
    h, c = m.height, m.clearance
    tail = 0.715 * h if m.deck > 0.09 else 0.69 * h
    bottom = [(-0.46, c + 0.012), (-0.3, c), (0.0, c), (0.3, c), (0.455, c + 0.004)]
    nose = [(0.484, c + 0.022), (0.496, 0.27 * h), (0.5, 0.36 * h), (0.494, 0.43 * h), (0.476, 0.485 * h)]
    hood = [(0.435, 0.535 * h), ((m.cowl + 0.45) / 2, 0.6 * h), (m.cowl, 0.655 * h)]
    deck = [(0.0, 0.675 * h), (-0.25, 0.69 * h), (-0.41, tail), (-0.468, tail - 0.012 * h)]
    back = [(-0.483, 0.655 * h), (-0.489, 0.55 * h), (-0.498, 0.42 * h), (-0.5, 0.34 * h), (-0.493, 0.2 * h)]
    return [*bottom, *nose, *hood, *deck, *back]


def _above(m: Lines) -> FloatArray:
    """Return the body seen from above (x, y), both sides."""
    x = np.array([0.5, 0.494, 0.477, 0.445, 0.36, 0.2, 0.0, -0.2, -0.36, -0.445, -0.48, -0.496, -0.5])
    y = np.array([0.0, 0.42, 0.7, 0.87, 0.965, 0.99, 1.0, 1.0, 0.975, 0.9, 0.76, 0.46, 0.0]) * m.width / 2
    return np.concatenate([np.c_[x, y], np.c_[x, -y][-2:0:-1]])


def _facing(m: Lines) -> list[tuple[float, float]]:
    """Return the lower body seen from the front (|y|, z): narrow sills, a shoulder, open at the top."""
    w, h, c = m.width / 2, m.height, m.clearance
    right = [(0.84 * w, c - 0.01), (0.93 * w, c + 0.018), (0.965 * w, 0.3 * h), (0.99 * w, 0.45 * h)]
    right += [(w, 0.54 * h), (0.985 * w, 0.61 * h), (0.945 * w, 0.68 * h), (0.88 * w, 0.76 * h), (0.8 * w, h)]
    return [*right, *((-y, z) for y, z in reversed(right))]


def _cabin(m: Lines) -> list[tuple[float, float]]:
    """Return the cabin seen from the side (x, z)."""
    h, (rear, front) = m.height, m.roof
    foot = -0.5 + m.deck
    middle = 0.35 * rear + 0.65 * front
    sill = [(foot - 0.004, 0.52 * h), (0.0, 0.5 * h), (m.cowl + 0.012, 0.52 * h), (m.cowl + 0.004, 0.645 * h)]
    glass = [(0.5 * m.cowl + 0.5 * front + 0.006, 0.81 * h), (front, 0.945 * h), (front - 0.05, 0.982 * h)]
    top = [(middle, h), (0.6 * rear + 0.4 * middle, 0.985 * h), (rear, 0.945 * h)]
    back = [(0.45 * rear + 0.55 * foot, 0.83 * h), (foot + 0.002, 0.69 * h)]
    return [*sill, *glass, *top, *back]


def _lean(m: Lines) -> list[tuple[float, float]]:
    """Return the cabin seen from the front (|y|, z): inclined windows, and a slightly curved roof."""
    w, h = m.width / 2, m.height
    right = [(0.95 * w, 0.5 * h), (0.905 * w, 0.68 * h), (0.83 * w, 0.81 * h), (0.735 * w, 0.925 * h)]
    right += [(0.63 * w, 0.985 * h), (0.35 * w, 1.03 * h)]
    return [*right, *((-y, z) for y, z in reversed(right))]
