"""A folded L-bracket with holes and optional gussets. Unit: the length of its foot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from render.shapes.kernels.patches import Patch, centre_surfaces, join
from render.shapes.kernels.planar import circle, densify, rounded_rectangle
from render.shapes.kernels.solids import plate
from render.shapes.kernels.surface import FloatArray, Parameter, Shape, Surface


@dataclass(frozen=True)
class _Fold:
    """Folds a plate, which starts at x = 0, up by 90°: its foot is 1 long and its leg `height` high.

    start: x at which the fold begins.
    arc: length of the flat plate in the fold, measured at half the thickness.
    """

    height: float
    thickness: float
    radius: float

    @property
    def start(self) -> float:
        return 1 - self.radius - self.thickness

    @property
    def arc(self) -> float:
        return (self.radius + self.thickness / 2) * np.pi / 2

    @property
    def length(self) -> float:
        return self.start + self.arc + self.height - self.radius - self.thickness

    def apply(self, points: FloatArray) -> FloatArray:
        """Map points (n, 3) of the flat plate to the folded plate; its upper side becomes the inner one."""
        x, y, z = points.T
        turn = np.clip((x - self.start) / self.arc, 0, 1) * (np.pi / 2)
        away = self.radius + self.thickness - z
        beyond = np.maximum(x - self.start - self.arc, 0)
        across = np.minimum(x, self.start) + away * np.sin(turn)
        return np.stack([across, y, self.radius + self.thickness - away * np.cos(turn) + beyond], axis=1)


def _bracket(form: Mapping[str, float]) -> dict[str, Surface]:
    fold = _Fold(form["height"], form["thickness"], form["bend"])
    width, cells = form["width"], round(form["cells"])
    bends = np.linspace(fold.start, fold.start + fold.arc, 13)
    coarse = 1.6 / cells
    columns = np.concatenate(
        [
            np.linspace(0, fold.start, max(4, round(fold.start / coarse)))[:-1],
            bends,
            np.linspace(bends[-1], fold.length, max(4, round((fold.length - bends[-1]) / coarse)))[1:],
        ]
    )
    rows = np.linspace(-width / 2, width / 2, max(4, round(width / coarse)))
    inner = np.stack(np.meshgrid(columns, rows, indexing="ij"), axis=-1).reshape(-1, 2)
    legs = ((0.0, fold.start), (float(bends[-1]), fold.length))
    # Each hole is centred in its cell. The size of the cells is that of the shorter leg.
    along, across = round(form["holes"]), round(form["rows"])
    cell = np.array([min(high - low for low, high in legs) / max(1, along), width / across])
    hole = form["hole"] * float(cell.min()) / 2
    chamfer = min(0.1 * fold.thickness, 0.3 * (float(cell.min()) / 2 - hole))
    corner = form["corner"] * min(width, fold.height) / 2
    if along:
        corner = _fitting(corner, cell / 2, hole + 2.5 * chamfer)
    chamfer = min(chamfer, 0.6 * corner)
    outline = _outline(fold.length, width, corner, columns, coarse / 2)
    circles = [
        circle(hole, 12 * max(2, round(cells / 16)), (float(x), float(y)))
        for low, high in legs
        for x in low + (np.arange(along) + 0.5) * (high - low) / max(1, along)
        for y in (np.arange(across) + 0.5) * width / across - width / 2
    ]
    flat = plate(outline, circles, fold.thickness, chamfer, inner)
    patches = [replace(p, points=fold.apply(p.points)) for p in flat]
    if form["gusset"] > 0:
        patches += _gussets(fold, width, form["gusset"])
    return centre_surfaces({"": join(patches)})


def _outline(length: float, width: float, corner: float, columns: FloatArray, spacing: float) -> FloatArray:
    """Return the outline of the flat plate, with points where the columns meet its long sides."""
    loop = rounded_rectangle((0.0, -width / 2), (length, width / 2), corner, 6)
    # Keep away from the corners, whose points a chamfer shifts a little.
    inside = columns[(columns > corner + 3e-3) & (columns < length - corner - 3e-3)]
    upper = np.c_[inside[::-1], np.full(len(inside), width / 2)]
    lower = np.c_[inside, np.full(len(inside), -width / 2)]
    whole = np.concatenate([loop[:7], upper, loop[7:21], lower, loop[21:]])
    return densify(whole, spacing)


def _fitting(wanted: float, middle: FloatArray, reach: float) -> float:
    """Return the wanted radius of the corners, or the largest that leaves a rim around the nearest hole.

    middle: (2,) from the corner to the centre of that hole.
    reach: radius of the hole plus the width of its rim.
    """
    radii = wanted * 0.95 ** np.arange(77)
    away = np.linalg.norm(np.maximum(radii[:, None] - middle, 0), axis=1)
    fits = (away == 0) | (away + reach <= radii)
    return float(radii[fits.argmax()] if fits.any() else radii[-1])


def _gussets(fold: _Fold, width: float, thick: float) -> list[Patch]:
    """Return two triangular ribs near the sides, sunk slightly into both legs, as if welded."""
    thickness, sunk = thick * width, 0.3 * fold.thickness
    reach = 0.6 * min(fold.start, fold.height - fold.thickness - fold.radius)
    x, z, blunt = 1 - fold.thickness + sunk, fold.thickness - sunk, 0.06 * reach + sunk
    outline = np.array(
        [(x - reach, z), (x, z), (x, z + reach), (x - blunt, z + reach), (x - reach, z + blunt)]
    )
    rib = plate(outline, [], thickness, min(0.12 * thickness, 0.25 * blunt))
    # The plate's axes (right, up, out) become (x, z, -y).
    turn = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    places = (width / 2 - 0.06 * width, -width / 2 + 0.06 * width + thickness)
    return [p.turned(turn).moved((0.0, y, 0.0)) for y in places for p in rib]


BRACKET = Shape(
    _bracket,
    size="length of the foot, over the fold",
    parameters={
        "height": Parameter(0.8, 0.4, 2.0, "height of the upright leg, in foot lengths"),
        "width": Parameter(0.55, 0.15, 1.5, "width, in foot lengths"),
        "thickness": Parameter(0.07, 0.02, 0.12, "thickness of the metal, in foot lengths"),
        "bend": Parameter(0.06, 0.02, 0.12, "inner radius of the fold, in foot lengths"),
        "corner": Parameter(0.2, 0.05, 0.9, "rounding of the corners: 1 makes half circles of the ends"),
        "holes": Parameter(2, 0, 4, "holes along each leg"),
        "rows": Parameter(1, 1, 3, "holes across each leg"),
        "hole": Parameter(0.4, 0.1, 0.6, "diameter of a hole over the room it has"),
        "gusset": Parameter(0.0, 0.0, 0.12, "thickness of the two ribs, in widths; 0: none"),
        "cells": Parameter(48, 24, 160, "how fine: about this many edges along a leg"),
    },
)
