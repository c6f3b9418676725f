"""The panels of a car as implicit functions, negative inside a panel."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import numpy as np

from render.shapes.car_body import Body
from render.shapes.kernels.implicit import Field, Outline, blended_max
from render.shapes.kernels.panels import Skin
from render.shapes.kernels.patches import Patch
from render.shapes.kernels.planar import densify, rounded_rectangle
from render.shapes.kernels.surface import FloatArray

SIDES = {"left": 1.0, "right": -1.0}
#: Thickness of metal and glass, and width of the gaps between panels, in car lengths: about 7 and 6 mm.
_THICK, _GAP = 0.0015, 0.0014


def _corner(radius: float, *values: FloatArray) -> FloatArray:
    """Return the intersection of regions, with rounded corners."""
    return reduce(lambda a, b: blended_max(a, b, radius), values)


def _patch_of(
    low: tuple[float, float], high: tuple[float, float], radius: float, lean: float = 0.0
) -> Outline:
    """Return a rounded rectangle (|y|, z) seen from the front; top and bottom rise outward by `lean`."""
    loop = densify(rounded_rectangle(low, high, radius, 6), 0.004)
    loop[:, 1] += lean * (loop[:, 0] - low[0])
    return Outline(loop, 0.002, 0.05)


class Panels:
    """The regions of the skin of a car."""

    def __init__(self, body: Body) -> None:
        """Tabulate the outlines of lights and openings."""
        self.body = body
        m = self.m = body.lines
        w, h = m.width / 2, m.height
        self._headlight = _patch_of((0.52 * w, 0.405 * h), (1.1 * w, 0.475 * h), 0.010, 0.10)
        self._taillight = _patch_of((0.56 * w, 0.51 * h), (1.1 * w, 0.635 * h), 0.012, 0.05)
        self._grille = _patch_of((-0.42 * w, 0.36 * h), (0.42 * w, 0.455 * h), 0.012)
        self._intake = _patch_of((-0.60 * w, 0.165 * h), (0.60 * w, 0.245 * h), 0.010)

    def arches(self, p: FloatArray) -> FloatArray:
        """Return the region of the wheel arches."""
        near = [self.body.from_axle(p[:, 0], p[:, 2], axle) for axle in (self.m.front, self.m.rear)]
        return np.maximum(np.minimum(*near), 0.3 * self.m.width - np.abs(p[:, 1]))

    def light(self, side: float, *, front: bool) -> Field:
        """Return the region of a headlight or tail light, which extends around the corner."""
        outline, way, end = (self._headlight, -1.0, 0.415) if front else (self._taillight, 1.0, 0.435)
        return lambda p: _corner(0.01, outline(side * p[:, 1], p[:, 2]), way * p[:, 0] + end)

    def grille(self, p: FloatArray) -> FloatArray:
        """Return the region of grille and air intake."""
        openings = np.minimum(self._grille(p[:, 1], p[:, 2]), self._intake(p[:, 1], p[:, 2]))
        return np.maximum(openings, 0.3 - p[:, 0])

    def window(self, side: float, *, front: bool) -> Field:
        """Return the region of a side window: the inset outline of the cabin above the belt, to a pillar."""
        m = self.m
        end = m.roof[0] - 0.25 * m.slope

        def region(p: FloatArray) -> FloatArray:
            beyond = (
                (m.pillar + 0.006 - p[:, 0])
                if front
                else np.maximum(p[:, 0] - m.pillar + 0.006, end - p[:, 0])
            )
            glass = self.body.windows(p) + 0.016
            return _corner(0.012, glass, m.belt + 0.012 - p[:, 2], beyond, 0.2 * m.width - side * p[:, 1])

        return region

    def glass(self, *, front: bool) -> Field:
        """Return the region of windshield or rear window: the inset outline of the cabin from the front."""
        m = self.m
        foot = (0.665 if front else 0.7) * m.height
        way, end = (1.0, m.cowl - 0.006) if front else (-1.0, -0.5 + m.deck + 0.012)

        def region(p: FloatArray) -> FloatArray:
            x = self.body.wrapped(p[:, 0], p[:, 1])
            half = self.body.lean(np.abs(p[:, 1]), np.minimum(p[:, 2], 0.9 * m.height)) + 0.013
            high = np.maximum(p[:, 2] - 0.925 * m.height, way * (sum(m.roof) / 2 - x))
            return _corner(0.016, half, np.maximum(foot - p[:, 2], way * (x - end)), high)

        return region

    def hood(self, p: FloatArray) -> FloatArray:
        """Return the region of the hood, which narrows towards the nose."""
        m = self.m
        half = (0.355 - 0.22 * (p[:, 0] - m.cowl)) * m.width
        return _corner(
            0.02, np.abs(p[:, 1]) - half, m.cowl + 0.012 - p[:, 0], p[:, 0] - 0.468, 0.44 * m.height - p[:, 2]
        )

    def trunk(self, p: FloatArray) -> FloatArray:
        """Return the region of the trunk lid, down to between the tail lights.

        With a short deck it is a tailgate that extends to the roof.
        """
        m = self.m
        gate = m.deck < 0.09
        ahead = m.roof[0] - 0.02 if gate else -0.5 + m.deck - 0.012
        half = (0.36 if gate else 0.385) * m.width
        return _corner(0.014, np.abs(p[:, 1]) - half, p[:, 0] - ahead, 0.44 * m.height - p[:, 2])

    def bumper(self, *, front: bool) -> Field:
        """Return the region of a bumper: below the lights, from the wheel arch to the nose or the tail."""
        m = self.m
        axle, way = (m.front, 1.0) if front else (m.rear, -1.0)
        top = (0.40 if front else 0.43) * m.height
        return lambda p: _corner(0.012, p[:, 2] - top, way * (axle - p[:, 0]) + 0.5 * m.arch)

    def door(self, side: float, *, front: bool) -> Field:
        """Return the region of a door with its window frame; the wheel arch cuts the rear doors."""
        m = self.m
        ahead = m.front - m.arch - 0.028 if front else m.pillar
        behind = m.pillar if front else m.rear + 0.02
        sill = m.clearance + 0.1 * m.height

        def region(p: FloatArray) -> FloatArray:
            x, z = p[:, 0], p[:, 2]
            tall = np.minimum(self.body.windows(p) + 0.006, z - m.belt)
            flat = _corner(0.012, x - ahead, behind - x, sill - z, tall)
            arch = -self.body.from_axle(x, z, m.rear) + 0.012
            return np.maximum(np.maximum(flat, arch), 0.2 * m.width - side * p[:, 1])

        return region

    def cut(self, skin: Skin) -> Iterator[tuple[str, list[Patch]]]:
        """Yield component name and shell of every panel; the remaining skin is the body."""
        _, skin = skin.split(self.arches, 0.0)
        for name, region, sunk in self._order():
            panel, skin = skin.split(region, _GAP)
            yield name, panel.without_splinters().solid(_THICK, sunk)
        yield "body", skin.without_splinters().solid(_THICK)

    def _order(self) -> Iterator[tuple[str, Field, float]]:
        """Yield name, region and depth below the skin of the panels.

        Small panels come first: each panel takes what earlier panels left of its region.
        """
        for name, side in SIDES.items():
            yield f"front_{name}_light", self.light(side, front=True), 0.0006
            yield f"back_{name}_light", self.light(side, front=False), 0.0
            yield f"front_{name}_window", self.window(side, front=True), 0.0012
            yield f"back_{name}_window", self.window(side, front=False), 0.0012
        yield "grille", self.grille, 0.006
        yield "windshield", self.glass(front=True), 0.0008
        yield "back_glass", self.glass(front=False), 0.0008
        yield "hood", self.hood, 0.0
        yield "trunk", self.trunk, 0.0
        yield "front_bumper", self.bumper(front=True), 0.0
        yield "back_bumper", self.bumper(front=False), 0.0
        for name, side in SIDES.items():
            yield f"front_{name}_door", self.door(side, front=True), 0.0
            yield f"back_{name}_door", self.door(side, front=False), 0.0
