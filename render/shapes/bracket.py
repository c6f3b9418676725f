"""A folded L-bracket with holes, and gussets where asked. Unit: the length of its foot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from render.shapes.kernels.patches import Patch, centred, join
from render.shapes.kernels.planar import circle, densified, rounded_rectangle
from render.shapes.kernels.solids import plate
from render.shapes.kernels.surface import FloatArray, Parameter, Shape, Surface


@dataclass(frozen=True)
class _Fold:
    """A plate from x = 0, folded up by 90° so that its foot is 1 long and its leg `height` high.

    start: where the fold begins.  arc: length of the flat plate that it uses up, at half the thickness.
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
        """Where points (n, 3) of the flat plate go; its upper side becomes the inner one."""
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
    holes = _Holes.of(form, min(high - low for low, high in legs))
    chamfer = min(0.1 * fold.thickness, 0.3 * holes.free)
    corner = holes.corner(form["corner"] * min(width, fold.height) / 2, 2.5 * chamfer)
    chamfer = min(chamfer, 0.6 * corner)
    outline = _outline(fold.length, width, corner, columns, coarse / 2)
    circles = [ring for low, high in legs for ring in holes.outlines(low, high)]
    flat = plate(outline, circles, fold.thickness, chamfer, inner)
    patches = [replace(p, points=fold.apply(p.points)) for p in flat]
    if form["gusset"] > 0:
        patches += _gussets(fold, width, form["gusset"])
    return centred({"": join(patches)})


def _outline(length: float, width: float, corner: float, columns: FloatArray, spacing: float) -> FloatArray:
    """The flat plate's outline, with points where the columns meet its long sides."""
    loop = rounded_rectangle((0.0, -width / 2), (length, width / 2), corner, 6)
    # Not so near the corners that a chamfer, which shifts their points a little, would pass them.
    inside = columns[(columns > corner + 3e-3) & (columns < length - corner - 3e-3)]
    upper = np.c_[inside[::-1], np.full(len(inside), width / 2)]
    lower = np.c_[inside, np.full(len(inside), -width / 2)]
    whole = np.concatenate([loop[:7], upper, loop[7:21], lower, loop[21:]])
    return densified(whole, spacing)


@dataclass(frozen=True)
class _Holes:
    """`along` x `across` holes in a leg, each at the centre of its cell.

    room: size of a cell.  count: edges of a circle.
    """

    along: int
    across: int
    width: float
    room: tuple[float, float]
    radius: float
    count: int

    @classmethod
    def of(cls, form: Mapping[str, float], length: float) -> _Holes:
        """Holes with room to spare in the shorter leg, `length` long; both legs have the same."""
        along, across = round(form["holes"]), round(form["rows"])
        room = length / max(1, along), form["width"] / across
        count = 12 * max(2, round(form["cells"] / 16))
        return cls(along, across, form["width"], room, form["hole"] * min(room) / 2, count)

    @property
    def free(self) -> float:
        """Metal between a hole and the end of its room."""
        return min(self.room) / 2 - self.radius

    def corner(self, wanted: float, rim: float) -> float:
        """Radius of the corners: as wanted, or the largest that leaves the holes a rim."""
        radius, middle = wanted, np.array(self.room) / 2
        while self.along and radius > 0.02 * wanted:
            away = float(np.linalg.norm(np.maximum(radius - middle, 0)))
            if away == 0 or away + self.radius + rim <= radius:
                break
            radius *= 0.95
        return radius

    def outlines(self, low: float, high: float) -> list[FloatArray]:
        """Circles in the leg between two places along x."""
        step = (high - low) / max(1, self.along)
        return [
            circle(
                self.radius,
                self.count,
                (low + (i + 0.5) * step, (k + 0.5) * self.width / self.across - self.width / 2),
            )
            for i in range(self.along)
            for k in range(self.across)
        ]


def _gussets(fold: _Fold, width: float, thick: float) -> list[Patch]:
    """Two triangular ribs near the sides, sunk a little into both legs as a weld would be."""
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
