"""The wheel of a car: tyre and spoked rim in one closed surface. Unit: its radius; the axle is y."""

from __future__ import annotations

import numpy as np

from render.shapes.kernels.patches import Patch
from render.shapes.kernels.solids import loft, rings
from render.shapes.kernels.surface import FloatArray

#: Profile of the tyre from the inner side to the outer: (radius, y in half widths).
_TYRE = (
    (0.60, -0.80), (0.68, -0.93), (0.82, -1.0), (0.92, -0.96), (0.975, -0.84), (0.998, -0.6), (1.0, -0.3),
    (1.0, 0.3), (0.998, 0.6), (0.975, 0.84), (0.92, 0.96), (0.84, 1.0), (0.76, 0.99), (0.70, 0.92),
)  # fmt: skip


def wheel(half_width: float, spokes: int, columns: int = 120) -> Patch:
    """Return a wheel about the origin that faces +y; accent is 1 on the metal of the rim."""
    rows: list[tuple[float, float]] = [(0.0, -0.35), (0.58, -0.35), *_TYRE]
    rim = [(0.685, 0.90), (0.675, 0.96), (0.64, 0.95), (0.63, 0.86)]
    dish = [(r, 0.86 - 0.12 * (0.61 - r) / 0.5) for r in np.linspace(0.615, 0.17, 16)]
    hub = [(0.15, 0.78), (0.13, 0.84), (0.06, 0.86), (0.0, 0.86)]
    profile = np.array([*rows, *rim, *dish, *hub])
    radius, across = profile[:, :1], profile[:, 1:]
    first = len(rows) + len(rim)
    open_ = np.zeros((len(profile), columns))
    open_[first : first + len(dish)] = _gaps(radius[first : first + len(dish)], columns, spokes)
    accent = np.zeros_like(open_)
    accent[len(rows) :] = 1.0
    accent[open_ > 0.5] = 0.0
    # The heights of the sections become y, and their circles lie in the z-x plane: faces stay outward.
    sections = rings(radius, (across - 0.55 * open_) * half_width, columns)[..., [1, 2, 0]]
    return loft(sections, accent)


def _gaps(radius: FloatArray, columns: int, spokes: int) -> FloatArray:
    """Return (rows, columns): 1 in openings between spokes, 0 on spokes, steep between; radius: (rows, 1)."""
    turn = np.arange(columns) * spokes / columns
    off = np.abs(turn - np.round(turn)) * 2 * np.pi / spokes  # angle from the nearest spoke's middle
    across = radius * np.sin(np.minimum(off, np.pi / 2))
    wide = np.clip((across - 0.075 - 0.05 * (radius - 0.2)) / 0.02, 0, 1)
    rims = np.clip((0.6 - radius) / 0.015, 0, 1) * np.clip((radius - 0.2) / 0.03, 0, 1)
    return np.asarray(wide * rims)
