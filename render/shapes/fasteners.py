"""Hex bolt, hex nut and washer with metric proportions. Unit: the thread's nominal diameter (M8: 0.008 m)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from render.shapes.kernels.patches import centred, join
from render.shapes.kernels.solids import lofted, loops, turned
from render.shapes.kernels.surface import UPRIGHT, FloatArray, Parameter, Rest, Shape, Surface

#: ISO 68-1: the basic profile is 5/8 of a 60° triangle high, its crest 1/8 and its root 1/4 of a pitch wide.
_DEPTH, _CREST, _ROOT = 0.625 * np.sqrt(3) / 2, 1 / 8, 1 / 4
#: Rows of quads in a pitch.
_ROWS = 14
_FLAT = Rest((1, 0, 0, 0, -1, 0, 0, 0, -1))


def _thread(angle: FloatArray, height: FloatArray, pitch: float) -> FloatArray:
    """(rows, columns): 1 on the crest, 0 in the root of a right-handed helix at angles and heights."""
    turns = height[:, None] / pitch - angle[None] / (2 * np.pi)
    off = np.abs(turns - np.round(turns))
    return np.asarray(1 - np.clip((off - _CREST / 2) / (0.5 - _CREST / 2 - _ROOT / 2), 0, 1))


def _hexagon(columns: int) -> FloatArray:
    """(columns,) reach of a hexagon of 1 across flats, a corner at angle 0."""
    angle = np.arange(columns) * (2 * np.pi / columns)
    return np.asarray(0.5 / np.cos(angle % (np.pi / 3) - np.pi / 6))


def _columns(form: Mapping[str, float]) -> int:
    """Columns around, a multiple of twelve so that each corner and each flat's middle has one."""
    return 12 * max(1, round(form["cells"] / 12))


def _chamfered(width: float, low: float, high: float, columns: int, ends: tuple[bool, bool]) -> FloatArray:
    """Hexagonal rings from `low` up to `high`; at chamfered ends a 30° cone cuts the corners (ISO 4014)."""
    reach = _hexagon(columns) * width
    drop = np.clip(reach - 0.475 * width, 0, None) * np.tan(np.pi / 6)
    angle = np.arange(columns) * (2 * np.pi / columns)
    way = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    small = np.minimum(reach, 0.475 * width)
    rings = []
    for height, sign, cut in ((low, 1.0, ends[0]), (high, -1.0, ends[1])):
        pair = [(small, np.full(columns, height)), (reach, height + sign * drop)] if cut else []
        pair = pair or [(reach, np.full(columns, height))]
        rings += [np.c_[way * r[:, None], z] for r, z in (pair if sign > 0 else pair[::-1])]
    return np.stack(rings)


def _bolt(form: Mapping[str, float]) -> dict[str, Surface]:
    columns, length, pitch = _columns(form), form["length"], form["pitch"]
    head, width = form["head_height"], form["head_width"]
    threaded = min(length * form["thread"], length - 0.05)
    angle = np.arange(columns) * (2 * np.pi / columns)
    height = np.linspace(0.0, threaded + pitch, round((threaded + pitch) / pitch * _ROWS))
    fade = np.clip((threaded + pitch - height) / pitch, 0, 1)[:, None]
    radius = 0.5 - pitch * _DEPTH * fade * (1 - _thread(angle, height, pitch))
    radius = np.minimum(radius, 0.5 - 0.8 * pitch + height[:, None])  # the tip's 45° chamfer
    radius = np.minimum(radius, 0.5 - 0.02 * np.clip(1 - fade, 0, 1))
    shank = np.concatenate([np.zeros((1, columns)), radius])
    levels = np.concatenate([[0.0], height])
    way = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rings = [np.c_[way * r[:, None], np.full(columns, z)] for r, z in zip(shank, levels, strict=True)]
    quarter = np.linspace(0, np.pi / 2, 5)
    fillet = np.stack([0.54 - 0.06 * np.cos(quarter), length - 0.06 + 0.06 * np.sin(quarter)], axis=1)
    seat = [(0.46 * width, length), (0.46 * width, length + 0.03)] if head > 0.06 else []
    under = np.array([*(fillet if levels[-1] < length - 0.06 else fillet[-1:]), *seat])
    bottom = length + (0.03 if seat else 0.0)
    hexed = _chamfered(width, bottom, length + head, columns, (False, True))
    top = loops(np.array([[0.0, length + head]]), np.ones(columns))
    sections = np.concatenate([np.stack(rings), loops(under, np.ones(columns)), hexed, top])
    return centred({"": join([lofted(sections)])})


def _nut(form: Mapping[str, float]) -> dict[str, Surface]:
    columns, pitch, high = _columns(form), form["pitch"], form["height"]
    outside = _chamfered(form["width"], 0.0, high, columns, (True, True))
    angle = np.arange(columns) * (2 * np.pi / columns)
    height = np.linspace(high, 0.0, round(high / pitch * _ROWS) + 1)
    radius = 0.5 - pitch * _DEPTH * _thread(angle, height, pitch)
    sink = np.minimum(height, high - height)[:, None]
    radius = np.maximum(radius, 0.54 - sink)  # 45° countersinks
    way = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    bore = np.stack(
        [np.c_[way * r[:, None], np.full(columns, z)] for r, z in zip(radius, height, strict=True)]
    )
    return centred({"": join([lofted(np.concatenate([outside, bore]), ring=True)])})


def _washer(form: Mapping[str, float]) -> dict[str, Surface]:
    outer, inner, high = form["outer"] / 2, form["inner"] / 2, form["thickness"]
    edge = min(0.25 * high, 0.2 * (outer - inner))
    outside = [(outer - edge, 0.0), (outer, edge), (outer, high - edge), (outer - edge, high)]
    bore = [(inner + edge, high), (inner, high - edge), (inner, edge), (inner + edge, 0.0)]
    profile = np.array([*outside, *bore])
    return centred({"": join([turned(profile, _columns(form), ring=True)])})


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
