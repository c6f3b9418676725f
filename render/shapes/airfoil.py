"""Aerofoil sections of turbine blades, stacked along the span. x: axial, y: around the engine, z: span."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import shapely

from render.shapes.kernels.surface import FloatArray

#: Radius of the trailing edge over the chord; a cast trailing edge is round.
_TRAILING = 0.014


def section(camber_rad: float, thickness: float, half: int) -> FloatArray:
    """Return the outline (2 half, 2) of a section of chord 1, counter-clockwise, its centroid at the origin.

    The thickness is that of the NACA four-digit series. The camber line is a circular arc that turns the flow
    by `camber_rad`. The leading edge is at negative x and the suction side at positive y. Points i and
    2 half - 1 - i face each other across the camber line.
    Source: Abbott and von Doenhoff, Theory of Wing Sections, section 6.4.
    """
    t = 0.5 * (1 - np.cos(np.linspace(0.02, 1.0, half) * np.pi))
    t[0] = 0.0
    spread = (
        5 * thickness * (0.2969 * np.sqrt(t) - 0.1260 * t - 0.3516 * t**2 + 0.2843 * t**3 - 0.1036 * t**4)
    )
    back = np.clip((t - 1) / _TRAILING + 1, 0, 1)
    # Points at the ends must not coincide: a short straight side closes the section there.
    spread = np.maximum(spread + _TRAILING * t * np.sqrt(1 - back**2), 0.1 * _TRAILING)
    slope = camber_rad * (0.5 - t)
    if abs(camber_rad) < 1e-6:
        middle = np.stack([t, np.zeros_like(t)], axis=1)
    else:
        radius = 0.5 / np.sin(camber_rad / 2)
        middle = radius * np.stack(
            [np.sin(camber_rad / 2) - np.sin(slope), np.cos(slope) - np.cos(camber_rad / 2)], axis=1
        )
    normal = np.stack([-np.sin(slope), np.cos(slope)], axis=1)
    suction, pressure = middle + spread[:, None] * normal, middle - spread[:, None] * normal
    outline = np.concatenate([suction[::-1], pressure])
    return np.asarray(outline - shapely.Polygon(outline).centroid.coords[0])


def outward(outline: FloatArray) -> FloatArray:
    """Return the unit normals (n, 2) of a counter-clockwise outline at its points."""
    along = np.roll(outline, -1, axis=0) - np.roll(outline, 1, axis=0)
    normal = np.stack([along[:, 1], -along[:, 0]], axis=1)
    return np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True))


@dataclass(frozen=True)
class Aerofoil:
    """A stack of sections from the foot to the tip.

    chord, thickness: at the foot.
    taper, slim: chord and thickness at the tip over those at the foot.
    camber_deg: turn of the camber line at the foot.
    stagger_deg: angle between chord and axis at the foot.
    twist_deg: increase of this angle towards the tip.
    cells: points along one side of a section, and sections along the span.
    """

    chord: float
    taper: float
    thickness: float
    slim: float
    camber_deg: float
    stagger_deg: float
    twist_deg: float
    cells: float

    @classmethod
    def of(cls, form: Mapping[str, float]) -> Aerofoil:
        """Build an aerofoil from the values of a form."""
        return cls(*(form[name] for name in cls.__dataclass_fields__))

    def fillet(self, wanted: float) -> float:
        """Return the wanted fillet radius, or the largest that fits into the concave pressure side."""
        hollow = 0.5 / max(np.sin(np.radians(self.camber_deg) / 2), 1e-9) - self.thickness / 2
        widest = self.chord * max(1.0, self.taper)
        return float(min(wanted, 0.4 * hollow * min(self.chord, self.chord * self.taper), 0.3 * widest))

    def at(self, share: float) -> FloatArray:
        """Return the section (2 cells, 2) at a share of the span, 0 at the foot."""
        # In a free-vortex design, the tip turns the flow about two thirds as much as the root.
        camber = np.radians(self.camber_deg) * (1 - 0.35 * share)
        outline = section(camber, self.thickness * (1 + (self.slim - 1) * share), round(self.cells))
        angle = -np.radians(self.stagger_deg + self.twist_deg * share)
        c, s = np.cos(angle), np.sin(angle)
        return np.asarray(outline * self.chord * (1 + (self.taper - 1) * share) @ np.array([[c, s], [-s, c]]))

    def sections(self, low: float, high: float, fillets: tuple[float, float]) -> FloatArray:
        """Return sections (k, 2 cells, 3) from `low` to `high`, with fillets of these radii at the ends."""
        arc = np.linspace(0, np.pi / 2, 7)[:-1]
        below, above = (arc if fillet else arc[:0] for fillet in fillets)
        straight = np.linspace(low + fillets[0], high - fillets[1], round(self.cells))
        start, end = low + fillets[0] * (1 - np.cos(below)), high - fillets[1] * (1 - np.cos(above[::-1]))
        flares = fillets[0] * (1 - np.sin(below)), 0 * straight, fillets[1] * (1 - np.sin(above[::-1]))
        sections = []
        for z, flare in zip(np.concatenate([start, straight, end]), np.concatenate(flares), strict=True):
            outline = self.at((z - low) / (high - low))
            sections.append(np.c_[outline + outward(outline) * flare, np.full(len(outline), z)])
        return np.stack(sections)
