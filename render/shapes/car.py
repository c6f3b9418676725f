"""A car of named components. Unit: overall length; x forward, y to its left, z up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from render.core.spec import Vector
from render.shapes.car_body import Body, Lines
from render.shapes.car_panels import SIDES, Panels
from render.shapes.car_wheel import wheel
from render.shapes.kernels.implicit import skin
from render.shapes.kernels.panels import Skin
from render.shapes.kernels.patches import Patch, centre_surfaces, grid, join
from render.shapes.kernels.solids import loft, plate, rings, rounded_box
from render.shapes.kernels.surface import UPRIGHT, FloatArray, Parameter, Shape, Surface

#: Rotates the axes of a plate (right, up, out) to (x, z, -y).
_SIDEWAYS = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
_CORNERS = tuple(f"{end}_{side}" for end in ("front", "back") for side in SIDES)
COMPONENTS = (
    "body",
    "hood",
    "trunk",
    "front_bumper",
    "back_bumper",
    *(f"{corner}_door" for corner in _CORNERS),
    "windshield",
    "back_glass",
    *(f"{corner}_window" for corner in _CORNERS),
    *(f"{corner}_light" for corner in _CORNERS),
    *(f"{side}_mirror" for side in SIDES),
    *(f"{corner}_wheel" for corner in _CORNERS),
    "grille",
    "front_plate",
    "back_plate",
    "trim",
    "interior",
)


def _car(form: Mapping[str, float]) -> dict[str, Surface]:
    lines = Lines(form)
    body = Body(lines)
    # With a cell size that divides no length evenly, no lattice points lie on the plane of symmetry.
    cell = 1 / (round(form["cells"]) + 0.3)
    reach = lines.width / 2 + 0.03
    points, quads = skin(body, (-0.53, -reach, 0.0), (0.53, reach, lines.height + 0.03), cell)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    pieces: dict[str, list[Patch]] = dict(Panels(body).cut(Skin(body, points, triangles)))
    for name, patches in _attached(body, round(form["spokes"])):
        pieces.setdefault(name, []).extend(patches)
    surfaces = centre_surfaces({name: join(pieces[name]) for name in COMPONENTS})
    length = max(s.vertices[:, 0].max() for s in surfaces.values()) * 2
    return centre_surfaces(surfaces, 1 / float(length))


def _attached(body: Body, spokes: int) -> Iterator[tuple[str, list[Patch]]]:
    """Yield the pieces that are no panels: wheels, wheel wells, mirrors, handles, number plates, interior."""
    m = body.lines
    for name, side in SIDES.items():
        turn = np.diag([side, side, 1.0])
        for end, axle in (("front", m.front), ("back", m.rear)):
            tyre = wheel(0.33, spokes)
            tyre = replace(tyre, points=tyre.points * m.wheel).turned(turn)
            half = _half_width(body, axle, 1.6 * m.wheel)
            at = side * (half - 0.36 * m.wheel)
            yield f"{end}_{name}_wheel", [tyre.moved((axle, at, m.wheel))]
            at = side * (half - 0.012)
            yield "trim", [p.turned(turn).moved((axle, at, m.wheel)) for p in _well(m)]
        yield f"{name}_mirror", _mirror(body, side)
        for x in (m.pillar + 0.028, m.rear + 0.052):
            at = side * (_half_width(body, x, 0.60 * m.height) + 0.002)
            yield "trim", _box((0.034, 0.008, 0.006), 0.0028, (x, at, 0.605 * m.height))
    plate = (0.003, 0.105, 0.024)
    for name, z, way in (("front", 0.30, 1.0), ("back", 0.50, -1.0)):
        at = way * _reach(body, (0.0, 0.0, z * m.height), (way, 0.0, 0.0))
        yield f"{name}_plate", _box(plate, 0.0012, (at + way * 0.001, 0.0, z * m.height))
    yield "interior", _inside(m)


def _box(size: tuple[float, float, float], radius: float, at: tuple[float, float, float]) -> list[Patch]:
    return [p.moved(at) for p in rounded_box(size, radius, (2, 2, 2), 3)]


def _half_width(body: Body, x: float, z: float) -> float:
    """Return |y| of the body's side."""
    return _reach(body, (x, 0.0, z), (0.0, 1.0, 0.0))


def _reach(body: Body, start: Vector, way: Vector) -> float:
    """Return how far the body extends from an inner point along an axis."""
    at = np.linspace(0.0, 0.55, 2200)
    inside = body(np.array(start) + at[:, None] * np.array(way)) < 0
    return float(at[inside.nonzero()[0][-1]])


def _mirror(body: Body, side: float) -> list[Patch]:
    """Return a mirror housing on a foot, at the front corner of the side window."""
    m = body.lines
    x, z = m.cowl - 0.062, m.belt + 0.022
    y = _half_width(body, x, z) + 0.020
    shell = rounded_box((0.021, 0.040, 0.029), 0.0099, (2, 2, 2), 4)
    foot = rounded_box((0.012, 0.03, 0.006), 0.0025, (1, 1, 1), 2)
    return [p.moved((x, side * (y + 0.006), z)) for p in shell] + [
        p.moved((x + 0.002, side * (y - 0.016), z - 0.010)) for p in foot
    ]


def _well(m: Lines) -> list[Patch]:
    """Return a wheel well about the axle, open towards +y at y = 0: a band over the wheel, and a back."""
    outer, inner, deep = 1.10 * m.arch, 1.005 * m.arch, 0.075
    end = float(np.arccos((m.clearance + 0.006 - m.wheel) / outer))  # down to the underside on either side
    angle = np.linspace(-end, end, 49)
    ring = np.array([(outer, 0.0), (outer, -deep), (inner, -deep), (inner, 0.0)])
    band = np.stack(
        [
            np.sin(angle)[:, None] * ring[:, 0],
            np.tile(ring[:, 1], (49, 1)),
            np.cos(angle)[:, None] * ring[:, 0],
        ],
        axis=2,
    )
    quad = np.arange(4)[None]
    disc = np.stack([np.sin(angle[::-1]), np.cos(angle[::-1])], axis=1) * outer
    back = [p.turned(_SIDEWAYS).moved((0.0, -deep, 0.0)) for p in plate(disc, [], 0.003, 0.0005)]
    return [grid(band, around=True), Patch(band[-1], quad), Patch(band[0], quad[:, ::-1]), *back]


def _inside(m: Lines) -> list[Patch]:
    """Return what is visible through clear glass: floor pan, dashboard, seats and steering wheel."""
    h, w = m.height, m.width
    back, front = m.rear - 0.02, m.cowl - 0.012
    low, high = m.clearance + 0.016, 0.5 * h
    pan = ((front - back), 0.80 * w, high - low)
    patches = _box(pan, 0.01, ((front + back) / 2, 0.0, (low + high) / 2))
    patches += _box((0.085, 0.74 * w, 0.055), 0.02, (front - 0.055, 0.0, 0.60 * h))
    for x in (m.pillar + 0.075, m.pillar - 0.085):
        for y in (-0.19 * w, 0.19 * w):
            patches += _seat((x, y, high), 0.30 * w, h)
    ring = np.linspace(0, 2 * np.pi, 13)[:-1]
    rim = rings(0.038 + 0.004 * np.cos(ring)[:, None], 0.004 * np.sin(ring)[:, None], 32)[..., [2, 0, 1]]
    wheel_at = (front - 0.125, 0.19 * w, 0.655 * h)
    return [*patches, loft(rim, ring=True).turned(_leaning(-25)).moved(wheel_at)]


def _leaning(degrees: float) -> FloatArray:
    return np.asarray(Rotation.from_euler("y", degrees, degrees=True).as_matrix())


def _seat(at: tuple[float, float, float], width: float, height: float) -> list[Patch]:
    """Return a seat: cushion, inclined back rest and head rest."""
    turn = _leaning(-14)
    cushion = [p.moved(at) for p in rounded_box((0.11, width, 0.05), 0.02, (2, 2, 2), 3)]
    rest: list[Patch] = []
    for size, up in (
        ((0.034, width, 0.28 * height), 0.16 * height),
        ((0.024, 0.5 * width, 0.1 * height), 0.345 * height),
    ):
        rest += [p.moved((0.0, 0.0, up)).turned(turn) for p in rounded_box(size, 0.011, (2, 2, 2), 3)]
    x, y, z = at
    return cushion + [p.moved((x - 0.055, y, z)) for p in rest]


CAR = Shape(
    _car,
    size="overall length, bumper to bumper",
    parameters={
        "height": Parameter(0.315, 0.28, 0.40, "height of the roof above the ground, in lengths"),
        "width": Parameter(0.395, 0.34, 0.46, "width without mirrors, in lengths"),
        "wheelbase": Parameter(0.59, 0.54, 0.62, "distance between the axles, in lengths"),
        "wheel": Parameter(0.070, 0.060, 0.085, "radius of a wheel, in lengths"),
        "clearance": Parameter(0.036, 0.025, 0.065, "height of the underside, in lengths"),
        "hood": Parameter(0.285, 0.2, 0.34, "from the nose to the windshield's foot, in lengths"),
        "deck": Parameter(
            0.155, 0.02, 0.22, "from the rear window's foot to the tail: below 0.09 a hatchback"
        ),
        "slope": Parameter(
            0.15, 0.04, 0.24, "how far the rear window leans, in lengths, where there is room"
        ),
        "spokes": Parameter(7, 3, 16, "spokes of a wheel"),
        "cells": Parameter(150, 60, 300, "cells of the skin along the car"),
    },
    rests=(UPRIGHT,),
    components=COMPONENTS,
)
