"""Hex bolt, hex nut and washer with metric proportions. Unit: the thread's nominal diameter (M8: 0.008 m)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from render.shapes.kernels.patches import centre_surfaces, join
from render.shapes.kernels.solids import loft, revolve, rings
from render.shapes.kernels.surface import UPRIGHT, FloatArray, Parameter, Rest, Shape, Surface

#: ISO 68-1: the basic profile is 5/8 of a 60° triangle high, its crest 1/8 and its root 1/4 of a pitch wide.
_DEPTH, _CREST, _ROOT = 0.625 * np.sqrt(3) / 2, 1 / 8, 1 / 4
#: Rows of quads per pitch.
_ROWS = 14
_FLAT = Rest((1, 0, 0, 0, -1, 0, 0, 0, -1))


def _thread(height: FloatArray, pitch: float, columns: int) -> FloatArray:
    """Return (rows, columns): 1 on the crest, 0 in the root of a right-handed helix at heights (rows, 1)."""
    turns = height / pitch - np.arange(columns) / columns
    off = np.abs(turns - np.round(turns))
    return np.asarray(1 - np.clip((off - _CREST / 2) / (0.5 - _CREST / 2 - _ROOT / 2), 0, 1))


def _columns(form: Mapping[str, float]) -> int:
    """Return the number of columns: a multiple of 12, so that one lies at each corner and in each flat."""
    return 12 * max(1, round(form["cells"] / 12))


def _hexagonal(width: float, low: float, high: float, columns: int, *, both: bool) -> FloatArray:
    """Return hexagonal sections from `low` up to `high`, `width` across flats, with a corner at angle 0.

    A 30° cone chamfers the corners of the upper end, or of both ends (ISO 4014).
    """
    angle = np.arange(columns) * (2 * np.pi / columns)
    reach = 0.5 * width / np.cos(angle % (np.pi / 3) - np.pi / 6)
    small = np.minimum(reach, 0.475 * width)
    drop = (reach - small) * np.tan(np.pi / 6)
    bottom, top = np.full(columns, low), np.full(columns, high)
    sections = [(small, bottom), (reach, low + drop)] if both else [(reach, bottom)]
    sections += [(reach, high - drop), (small, top)]
    radius, height = np.stack(sections, axis=1)
    return rings(radius, height, columns)


def _bolt(form: Mapping[str, float]) -> dict[str, Surface]:
    columns, length, pitch = _columns(form), form["length"], form["pitch"]
    head, width = form["head_height"], form["head_width"]
    threaded = min(length * form["thread"], length - 0.05)
    height = np.linspace(0.0, threaded + pitch, round((threaded + pitch) / pitch * _ROWS))[:, None]
    fade = np.clip((threaded + pitch - height) / pitch, 0, 1)
    radius = 0.5 - pitch * _DEPTH * fade * (1 - _thread(height, pitch, columns))
    radius = np.minimum(radius, 0.5 - 0.8 * pitch + height)  # the tip's 45° chamfer
    radius = np.minimum(radius, 0.5 - 0.02 * (1 - fade))
    quarter = np.linspace(0, np.pi / 2, 5)
    fillet = np.stack([0.54 - 0.06 * np.cos(quarter), length - 0.06 + 0.06 * np.sin(quarter)], axis=1)
    seat = [(0.46 * width, length), (0.46 * width, length + 0.03)] if head > 0.06 else []
    under = np.array([*(fillet if height[-1, 0] < length - 0.06 else fillet[-1:]), *seat])
    centre, top = np.zeros((1, 1)), length + head
    sections = (
        rings(centre, centre, columns),
        rings(radius, height, columns),
        rings(under[:, :1], under[:, 1:], columns),
        _hexagonal(width, length + (0.03 if seat else 0.0), top, columns, both=False),
        rings(centre, centre + top, columns),
    )
    return centre_surfaces({"": join([loft(np.concatenate(sections))])})


def _nut(form: Mapping[str, float]) -> dict[str, Surface]:
    columns, pitch, high = _columns(form), form["pitch"], form["height"]
    height = np.linspace(high, 0.0, round(high / pitch * _ROWS) + 1)[:, None]
    radius = 0.5 - pitch * _DEPTH * _thread(height, pitch, columns)
    radius = np.maximum(radius, 0.54 - np.minimum(height, high - height))  # 45° countersinks
    outside = _hexagonal(form["width"], 0.0, high, columns, both=True)
    sections = np.concatenate([outside, rings(radius, height, columns)])
    return centre_surfaces({"": join([loft(sections, ring=True)])})


def _washer(form: Mapping[str, float]) -> dict[str, Surface]:
    outer, inner, high = form["outer"] / 2, form["inner"] / 2, form["thickness"]
    edge = min(0.25 * high, 0.2 * (outer - inner))
    outside = [(outer - edge, 0.0), (outer, edge), (outer, high - edge), (outer - edge, high)]
    bore = [(inner + edge, high), (inner, high - edge), (inner, edge), (inner + edge, 0.0)]
    profile = np.array([*outside, *bore])
    return centre_surfaces({"": join([revolve(profile, _columns(form), ring=True)])})


_CELLS = Parameter(72, 12, 240, "quads around")
_PITCH = Parameter(0.156, 0.08, 0.3, "thread pitch, in diameters (M8: 0.156)")

BOLT = Shape(
    _bolt,
    size="nominal diameter of the thread",
    parameters={
        "length": Parameter(4.0, 0.5, 20.0, "length under the head, in diameters"),
        "thread": Parameter(0.6, 0.1, 1.0, "share of the length that is threaded"),
        "head_width": Parameter(1.625, 1.3, 2.5, "across flats, in diameters"),
        "head_height": Parameter(0.66, 0.3, 1.5, "height of the head, in diameters"),
        "pitch": _PITCH,
        "cells": _CELLS,
    },
)
NUT = Shape(
    _nut,
    size="nominal diameter of the thread",
    parameters={
        "width": Parameter(1.625, 1.3, 2.5, "across flats, in diameters"),
        "height": Parameter(0.85, 0.3, 2.5, "height, in diameters"),
        "pitch": _PITCH,
        "cells": _CELLS,
    },
)
WASHER = Shape(
    _washer,
    size="nominal diameter of the bolt that goes through",
    parameters={
        "outer": Parameter(2.0, 1.3, 6.0, "outer diameter, in bolt diameters"),
        "inner": Parameter(1.05, 0.5, 1.25, "diameter of the hole, in bolt diameters"),
        "thickness": Parameter(0.2, 0.02, 0.8, "thickness, in bolt diameters"),
        "cells": _CELLS,
    },
    rests=(UPRIGHT, _FLAT),
)
