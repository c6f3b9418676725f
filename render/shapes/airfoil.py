"""Aerofoil sections of turbine blades, stacked along the span. x: axial, y: around the engine, z: span."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from render.shapes.kernels.surface import FloatArray

#: Radius of the trailing edge over the chord: it is cast round, not sharp.
_TRAILING = 0.014


def section(camber_rad: float, thickness: float, half: int) -> FloatArray:
    """(2 half, 2): outline of a section of chord 1, counter-clockwise, its centroid at the origin.

    NACA four-digit thickness laid on a circular arc that turns the flow by `camber_rad`, leading edge at
    negative x, suction side at positive y; points i and 2 half - 1 - i face each other across the arc.
    Source: Abbott and von Doenhoff, Theory of Wing Sections, section 6.4.
    """
    t = 0.5 * (1 - np.cos(np.linspace(0.02, 1.0, half) * np.pi))
    t[0] = 0.0
    spread = (
        5 * thickness * (0.2969 * np.sqrt(t) - 0.1260 * t - 0.3516 * t**2 + 0.2843 * t**3 - 0.1036 * t**4)
    )
    back = np.clip((t - 1) / _TRAILING + 1, 0, 1)
    # No two points coincide at the ends: sections are closed there by a short straight side.
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
    return np.asarray(outline - centroid(outline))


def centroid(outline: FloatArray) -> FloatArray:
    """Centre of area (2,) of a closed outline."""
    x, y = outline.T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    middle = np.stack([x + np.roll(x, -1), y + np.roll(y, -1)], axis=1)
    return np.asarray((middle * cross[:, None]).sum(axis=0) / (3 * cross.sum()))


def outward(outline: FloatArray) -> FloatArray:
    """(n, 2) unit normals of a counter-clockwise outline at its points."""
    along = np.roll(outline, -1, axis=0) - np.roll(outline, 1, axis=0)
    normal = np.stack([along[:, 1], -along[:, 0]], axis=1)
    return np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True))


@dataclass(frozen=True)
class Aerofoil:
    """A stack of sections. chord and thickness: at the foot; taper, slim: their shares left at the tip.

    camber, stagger, twist: radians; the chord makes `stagger` with the axis at the foot and `twist` more at
    the tip.  half: points along one side of a section.
    """

    chord: float
    taper: float
    thickness: float
    slim: float
    camber: float
    stagger: float
    twist: float
    half: int

    def fillet(self, wanted: float) -> float:
        """The radius, or the largest that the hollow pressure side leaves room for."""
        hollow = 0.5 / max(np.sin(abs(self.camber) / 2), 1e-9) - self.thickness / 2
        widest = self.chord * max(1.0, self.taper)
        return float(min(wanted, 0.4 * hollow * min(self.chord, self.chord * self.taper), 0.3 * widest))

    def at(self, share: float) -> FloatArray:
        """(2 half, 2): the section at a share of the span, 0 at the foot."""
        # Tip sections turn the flow less: root 100 %, tip about two thirds, as free-vortex blading asks.
        outline = section(
            self.camber * (1 - 0.35 * share), self.thickness * (1 + (self.slim - 1) * share), self.half
        )
        angle = -(self.stagger + self.twist * share)
        c, s = np.cos(angle), np.sin(angle)
        return np.asarray(outline * self.chord * (1 + (self.taper - 1) * share) @ np.array([[c, s], [-s, c]]))

    def rings(self, low: float, high: float, fillets: tuple[float, float], rows: int) -> FloatArray:
        """(k, 2 half, 3): from height `low` to `high`, with quarter-circle fillets at the ends (0: none)."""
        span = high - low
        sections: list[FloatArray] = []
        heights = np.linspace(low + fillets[0], high - fillets[1], rows)
        arc = np.linspace(0, np.pi / 2, 7)
        for turn in arc[:-1] if fillets[0] else ():
            sections.append(self._flared(low + fillets[0] * (1 - np.cos(turn)), turn, fillets[0], low, span))
        sections += [np.c_[f := self.at((z - low) / span), np.full(len(f), z)] for z in heights]
        for turn in arc[-2::-1] if fillets[1] else ():
            sections.append(self._flared(high - fillets[1] * (1 - np.cos(turn)), turn, fillets[1], low, span))
        return np.stack(sections)

    def _flared(self, height: float, turn: float, fillet: float, low: float, span: float) -> FloatArray:
        outline = self.at((height - low) / span)
        wide = outline + outward(outline) * fillet * (1 - np.sin(turn))
        return np.asarray(np.c_[wide, np.full(len(wide), height)])
