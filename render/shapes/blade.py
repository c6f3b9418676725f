"""Turbine rotor blade and guide vane. Unit: their height along the span; x is the engine's axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from render.shapes.airfoil import Aerofoil
from render.shapes.kernels.patches import Patch, centre_surfaces, grid, join
from render.shapes.kernels.planar import densify, fill, lattice, rounded_rectangle
from render.shapes.kernels.solids import loft, rounded_box
from render.shapes.kernels.surface import FloatArray, Parameter, Shape, Surface

#: Longest side of the outline of a platform, in heights.
_SPACING = 0.012
#: Chamfer of a platform over its thickness.
_EDGE = 0.12


def _ring(outline: FloatArray, height: float) -> FloatArray:
    return np.asarray(np.c_[outline, np.full(len(outline), height)])


def _lid(outer: FloatArray, holes: Sequence[FloatArray], height: float) -> Patch:
    """Return a flat face at a height, facing up, with openings."""
    flat = [ring[:, :2] for ring in holes]
    points, triangles = fill(outer, flat, lattice(outer.min(axis=0), outer.max(axis=0), 0.02))
    return Patch(_ring(points, height), triangles)


def _blade(form: Mapping[str, float]) -> dict[str, Surface]:
    foil, thick = Aerofoil.of(form), form["platform"]
    deck = form["root"] + thick
    sections = foil.sections(deck, 1.0, (foil.fillet(form["fillet"]), 0.0))
    low, high = sections[0].min(axis=0)[:2] - form["margin"], sections[0].max(axis=0)[:2] + form["margin"]
    free = high - low - 2 * _EDGE * thick
    foot = _root(form, 0.94 * free[0], free[1]) + np.array([*(low + high) / 2, 0.0])
    patches = [
        loft(sections),
        _lid(sections[-1, :, :2], [], 1.0),
        *_platform((low, high), (deck - thick, deck), above=[sections[0]], below=[foot[-1]]),
        loft(foot),
        _lid(foot[0, :, :2], [], 0.0).flipped(),
    ]
    return centre_surfaces({"": join(patches)})


def _root(form: Mapping[str, float], length: float, width: float) -> FloatArray:
    """Return the root of a blade (k, n, 3), with x along the slot.

    It is a dovetail, or a fir tree of `lobes` pairs of teeth. The profile of the teeth is a cosine, and their
    tips lie on a wedge. The shank is above the teeth.
    """
    lobes, tall = round(form["lobes"]), form["root"]
    top, shank = 0.36 * width, 0.68 * tall
    if lobes:
        height = np.linspace(0.0, shank, 16 * lobes + 1)
        wedge = 0.42 + 0.58 * height / shank
        wave = 0.5 - 0.5 * np.cos(2 * np.pi * (height / shank * lobes + 0.12))
        half = top * wedge * (0.70 + 0.34 * np.clip(1.15 * wave, 0.0, 1.0))
    else:
        height = np.array([0.0, 0.04, 0.3, 0.36, 0.92, 1.0]) * shank
        half = top * np.array([0.98, 1.06, 1.06, 1.0, 0.58, 0.55])
    curve = np.linspace(0, 1, 6)[1:]
    height = np.concatenate([height, shank + (tall - shank) * curve])
    half = np.concatenate([half, half[-1] + (top * 1.02 - half[-1]) * curve**2])
    chamfer = 0.02 * tall
    rings = []
    for z, y in zip(height, half, strict=True):
        corner = rounded_rectangle((-length / 2, -y), (length / 2, y), chamfer, 1)
        rings.append(_ring(_subdivided(corner, 6, 12), z))
    return np.stack(rings)


def _subdivided(rectangle: FloatArray, across: int, along: int) -> FloatArray:
    """Subdivide a chamfered rectangle: `along` steps on its long sides, `across` on its short sides."""
    pieces = []
    for k in range(8):
        steps = (1, along, 1, across)[k % 4]
        a, b = rectangle[k], rectangle[(k + 1) % 8]
        pieces.append(a + (b - a) * (np.arange(steps) / steps)[:, None])
    return np.concatenate(pieces)


def _vane(form: Mapping[str, float]) -> dict[str, Surface]:
    foil, thick = Aerofoil.of(form), form["platform"]
    fillet, count = foil.fillet(form["fillet"]), round(form["count"])
    foil_sections = foil.sections(thick, 1 - thick, (fillet, fillet))
    low, high = foil_sections.min(axis=(0, 1))[:2], foil_sections.max(axis=(0, 1))[:2]
    pitch = max(form["pitch"], 1.15 * (high - low)[1])
    places = (np.arange(count) - (count - 1) / 2) * pitch
    foils = [foil_sections + np.array([0.0, y, 0.0]) for y in places]
    low, high = low - form["margin"] + (0.0, places[0]), high + form["margin"] + (0.0, places[-1])
    patches = [loft(foil) for foil in foils]
    patches += _platform((low, high), (0.0, thick), above=[f[0] for f in foils])
    patches += _platform((low, high), (1 - thick, 1.0), below=[f[-1] for f in foils])
    rail = (0.07 * (high - low)[0], 0.98 * (high - low)[1], 2.6 * thick)
    for x in (0.86 * low[0] + 0.14 * high[0], 0.18 * low[0] + 0.82 * high[0]):
        hook = rounded_box(rail, 0.1 * thick, (1, 24, 2), 2)
        patches += [p.moved((x, (low[1] + high[1]) / 2, 1 + 0.6 * thick)) for p in hook]
    vane = centre_surfaces(
        {"": join([replace(p, points=_wrap_around_axis(p.points, form["radius"])) for p in patches])}
    )
    return centre_surfaces(vane, 1 / float(np.ptp(vane[""].vertices[:, 2])))


def _platform(
    corners: tuple[FloatArray, FloatArray],
    heights: tuple[float, float],
    above: Sequence[FloatArray] = (),
    below: Sequence[FloatArray] = (),
) -> list[Patch]:
    """Return a flat chamfered slab, with openings in its upper and its lower face."""
    (low, high), (floor, top) = corners, heights
    edge = _EDGE * (top - floor)
    outline = densify(rounded_rectangle(low, high, 0.012, 3), _SPACING)
    # The outline of the faces is the same outline, scaled into a smaller bounding box.
    rim = low + edge + (outline - low) / (high - low) * (high - low - 2 * edge)
    sides = [_ring(rim, floor), _ring(outline, floor + edge), _ring(outline, top - edge), _ring(rim, top)]
    return [_lid(rim, above, top), _lid(rim, below, floor).flipped(), grid(np.stack(sides), around=True)]


def _wrap_around_axis(points: FloatArray, radius: float) -> FloatArray:
    """Bend flat platforms into cylinder segments about the axis of the engine, `radius` below the foot."""
    angle, away = points[:, 1] / radius, radius + points[:, 2]
    return np.stack([points[:, 0], away * np.sin(angle), away * np.cos(angle) - radius], axis=1)


def _parameters(**changed: Parameter) -> dict[str, Parameter]:
    return {
        "chord": Parameter(0.36, 0.1, 0.6, "chord at the foot, in heights"),
        "taper": Parameter(0.78, 0.4, 1.3, "chord at the tip over chord at the foot"),
        "thickness": Parameter(0.17, 0.06, 0.3, "greatest thickness over chord at the foot"),
        "slim": Parameter(0.6, 0.3, 1.2, "relative thickness at the tip over that at the foot"),
        "camber_deg": Parameter(75.0, 0.0, 110.0, "turn of the mean line at the foot"),
        "stagger_deg": Parameter(20.0, -60.0, 60.0, "angle of the chord to the axis at the foot"),
        "twist_deg": Parameter(28.0, -60.0, 60.0, "turn from foot to tip"),
        "fillet": Parameter(
            0.025, 0.01, 0.06, "radius between aerofoil and platform, in heights, where there is room"
        ),
        "platform": Parameter(0.045, 0.02, 0.1, "thickness of a platform, in heights"),
        "margin": Parameter(0.025, 0.02, 0.1, "platform beyond the aerofoil, in heights"),
        "cells": Parameter(40, 16, 160, "quads along one side of a section, and along the span"),
    } | changed


BLADE = Shape(
    _blade,
    size="height from the root's underside to the tip",
    parameters=_parameters(
        root=Parameter(0.3, 0.12, 0.5, "height of root and shank below the platform, in heights"),
        lobes=Parameter(3, 0, 5, "pairs of teeth of the fir tree; 0: a dovetail"),
    ),
)
VANE = Shape(
    _vane,
    size="height over both platforms and the rails",
    parameters=_parameters(
        chord=Parameter(0.42, 0.1, 0.6, "chord at the inner platform, in heights"),
        taper=Parameter(1.1, 0.7, 1.4, "chord at the outer platform over that at the inner"),
        slim=Parameter(1.0, 0.3, 1.2, "relative thickness outside over inside"),
        stagger_deg=Parameter(35.0, -60.0, 60.0, "angle of the chord to the axis at the inner platform"),
        twist_deg=Parameter(-6.0, -60.0, 60.0, "turn from inner to outer platform"),
        count=Parameter(1, 1, 4, "aerofoils between the platforms"),
        pitch=Parameter(0.3, 0.15, 1.0, "distance between aerofoils around the engine, in heights"),
        radius=Parameter(3.0, 1.0, 50.0, "radius of the inner platform about the engine's axis, in heights"),
    ),
)
