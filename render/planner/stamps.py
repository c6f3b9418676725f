"""Draws the digits of a stamp: characters, positions and legibility."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator

from render.core.spec import MeshSpec, Pose
from render.geometry.transforms import about, matrix, pose, scale_of
from render.recipe.distributions import draw, draw_int
from render.recipe.tables import Stamp
from render.shapes.kernels.surface import FloatArray, Panel

Legibility = Literal["well", "partly", "poorly"]
LEVELS: tuple[Legibility, ...] = ("well", "partly", "poorly")
#: Distance between neighbouring digits in character heights, at spacing 1.
ADVANCE = 0.8
#: Greatest share of the face that a line of digits may fill, along and up.
_FILL = (0.94, 0.8)
#: Per level: lowest and highest share of the strokes erased, warp, and relief as a share of `relief_m`.
_WEAR: dict[Legibility, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "well": ((0.0, 0.02), (0.0, 0.12), (0.85, 1.1)),
    "partly": ((0.2, 0.42), (0.15, 0.45), (0.5, 0.9)),
    "poorly": ((0.45, 0.7), (0.35, 0.9), (0.25, 0.6)),
}


@dataclass(frozen=True)
class GlyphPlan:
    """One character.

    mesh: shape "glyph", one unit high.
    pose: in the world.
    """

    mesh: MeshSpec
    pose: Pose
    legibility: Legibility


def stamp(stamp: Stamp, panel: Panel, scale: float, at: Pose, rng: Generator) -> tuple[GlyphPlan, ...]:
    """Place a line of digits on the panel of a part.

    scale: metres per unit of the part.
    at: pose of the part.

    A line that is too long or too high for the panel is scaled down. Every legibility level gets its share of
    the digits, rounded up or down at random, so that the expected share is exact.
    """
    count = max(1, draw_int(stamp.length, rng))
    height = draw(stamp.height_m, rng) / scale
    advance = ADVANCE * draw(stamp.spacing, rng)  # in heights
    height = min(height, panel.height * _FILL[1], panel.length * _FILL[0] / (count * advance))
    levels = _levels(stamp, count, rng)
    relief = draw(stamp.relief_m, rng) / scale / height
    # One set of stamps makes the line, so its digits share font, weight and slant; wear differs per digit.
    line = {
        "slant": math.radians(draw(stamp.slant_deg, rng)),
        "weight": float(rng.uniform(0.13, 0.19)),
        "font": float(rng.integers(2)),
    }
    axes = np.reshape(panel.axes, (3, 3)).T
    tilt = about(np.eye(3)[2], float(rng.normal(0, 0.012)))
    slack = np.array([panel.length - count * advance * height, panel.height - height]) * 0.4
    start = np.array([*(rng.uniform(-0.5, 0.5, 2) * np.maximum(slack, 0)), 0.0])
    glyphs = []
    for number, level in enumerate(levels):
        along = (number - (count - 1) / 2) * advance * height
        jitter = rng.normal(0, 0.018, 2).clip(-0.05, 0.05) * height
        place = start + tilt @ np.array([along + jitter[0], jitter[1], 0.0])
        turn = tilt @ about(np.eye(3)[2], float(rng.normal(0, 0.025)))
        text = stamp.characters[int(rng.integers(len(stamp.characters)))]
        mesh = MeshSpec(shape="glyph", form=line | _wear(level, relief, rng), text=text)
        glyphs.append(GlyphPlan(mesh, _pose(at, panel, axes @ turn, axes @ place, height), level))
    return tuple(glyphs)


def _levels(stamp: Stamp, count: int, rng: Generator) -> list[Legibility]:
    """Draw a level for each digit: systematic sampling of the shares, shuffled."""
    shares = np.array([stamp.well, stamp.partly, stamp.poorly])
    bounds = np.cumsum(shares / shares.sum())
    points = (np.arange(count) + rng.uniform()) / count
    level_of = np.minimum(np.searchsorted(bounds, points, side="right"), len(LEVELS) - 1)
    return [LEVELS[int(i)] for i in rng.permutation(level_of)]


def _wear(level: Legibility, relief: float, rng: Generator) -> dict[str, float]:
    erase, warp, left = _WEAR[level]
    return {
        "erase": float(rng.uniform(*erase)),
        "warp": float(rng.uniform(*warp)),
        "relief": relief * float(rng.uniform(*left)),
        "seed": float(rng.integers(2**20)),
    }


def _pose(at: Pose, panel: Panel, turn: FloatArray, place: FloatArray, height: float) -> Pose:
    """Return the world pose of a glyph of this height; turn (3, 3), place (3,): in the part's frame."""
    linear, origin = matrix(at)
    scale = scale_of(at)
    centre = linear @ (np.asarray(panel.centre) + place) + origin
    return pose(linear / scale @ turn, centre, scale * height)
