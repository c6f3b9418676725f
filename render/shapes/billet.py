"""A billet: a long square bar of steel whose sawn end carries stamped digits. Unit: side of the square."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from render.shapes.kernels.patches import centre_surfaces, join
from render.shapes.kernels.planar import densify, lattice, rounded_rectangle
from render.shapes.kernels.solids import plate
from render.shapes.kernels.surface import UPRIGHT, Panel, Parameter, Shape, Surface

_LENGTH = Parameter(5.0, 0.5, 40.0, "length, in sides")
_EDGE = Parameter(0.07, 0.01, 0.3, "radius of the four long edges, in sides")
#: Chamfer of the sawn ends, whose burr is ground off, in sides.
_CHAMFER = 0.008


def _billet(form: Mapping[str, float]) -> dict[str, Surface]:
    cells = round(form["cells"])
    outline = densify(rounded_rectangle((-0.5, -0.5), (0.5, 0.5), form["edge"], 8), 1 / cells)
    inner = lattice((-0.5, -0.5), (0.5, 0.5), 1 / cells)
    along = max(1, round(form["length"] * cells / 4))
    bar = plate(outline, [], form["length"], _CHAMFER, inner, along)
    turn = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # the plate's z becomes x
    return centre_surfaces({"": join([p.turned(turn) for p in bar])})


def _panel(form: Mapping[str, float]) -> Panel:
    """Return the end at positive x, read from outside with z up, without its rounded rim."""
    free = 1 - 2 * max(form.get("edge", _EDGE.default), 0.05)
    half = form.get("length", _LENGTH.default) / 2
    return Panel((0, 1, 0, 0, 0, 1, 1, 0, 0), (half, 0.0, 0.0), free, free)


BILLET = Shape(
    _billet,
    size="side of the square end",
    parameters={
        "length": _LENGTH,
        "edge": _EDGE,
        "cells": Parameter(32, 8, 120, "quads along a side of the end"),
    },
    # A bar rests only as modelled: its digits are upright as it leaves the mill.
    rests=(UPRIGHT,),
    stamped=_panel,
)
