"""Outlines of flaws as shader nodes.

The edge measure is 1 in the centre of a feature (a dent, one line of a crack, a pit), 0 on its border and
negative outside. Softness, depth and rim are defined by it, so they mean the same for all outlines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from render.worker.defects.flaw import SWING, Flaw
from render.worker.materials.nodes import Value


@dataclass(frozen=True)
class Outline:
    """Shader values of an outline.

    edge: the edge measure.
    label: 1 where the flaw is labelled, 0 elsewhere.
    """

    edge: Value
    label: Value


def blot(flaw: Flaw) -> Outline:
    """Build one area. Its label includes a raised rim that is high enough to be visible."""
    edge, spec = flaw.oval(), flaw.spec
    raised = abs(spec.rim_m) > 0.1 * abs(spec.depth_m)
    return Outline(edge, flaw.above(edge, -0.6 * flaw.number("rim_width") if raised else 0.0))


def ring(flaw: Flaw) -> Outline:
    """Build a band along the border of an area."""
    n, half = flaw.nodes, flaw.number("thickness") / 2
    off = n.maths("ABSOLUTE", n.maths("SUBTRACT", flaw.oval(), half))
    edge = n.maths("MULTIPLY_ADD", off, -1 / half, 1.0)
    return Outline(edge, flaw.above(edge))


def streak(flaw: Flaw) -> Outline:
    """Build parallel lines along the length."""
    n, count = flaw.nodes, max(1, round(flaw.number("strands")))
    x, y, _ = flaw.parts
    y = _add_ragged_noise(flaw, y)
    across = n.maths("MULTIPLY_ADD", y, count / 2 / flaw.aspect, count / 2)  # in strips
    strip = n.maths("MINIMUM", n.maths("MAXIMUM", n.maths("FLOOR", across), 0.0), count - 1.0)
    off = n.maths("SUBTRACT", n.maths("SUBTRACT", across, strip), 0.5)
    along, half, row = x, 0.5 / (1 + flaw.number("wander")), strip
    if count > 1:
        place = n.combine(strip, flaw.shift(2)[0], 0.0)
        dice = n.add("ShaderNodeTexWhiteNoise", {"Vector": place}, noise_dimensions="2D")
        first, second, third = n.separate(dice.outputs["Color"])
        length = n.maths("MULTIPLY_ADD", first, 0.6, 0.4)
        side = n.maths("MULTIPLY_ADD", second, 2.0, -1.0)
        middle = n.maths("MULTIPLY", side, n.maths("SUBTRACT", 1.0, length))
        along = n.maths("DIVIDE", n.maths("SUBTRACT", x, middle), length)
        half = n.maths("MULTIPLY", n.maths("MULTIPLY_ADD", third, 0.7, 0.3), half)
        aside = n.maths("MULTIPLY_ADD", dice.outputs["Value"], 1.2, -0.6)
        off = n.maths("MULTIPLY_ADD", aside, n.maths("SUBTRACT", 0.5, half), off)
    bend = flaw.noise(_strip_cells(flaw, x, row, 0.7, 3), detail=1)
    sway = n.maths("MULTIPLY", n.maths("SUBTRACT", bend, 0.5), n.maths("SUBTRACT", 0.5, half))
    reach = flaw.number("wander") / SWING * (1.0 if count == 1 else 0.4)
    off = n.maths("ABSOLUTE", n.maths("MULTIPLY_ADD", sway, reach, off))
    blunt = 12.0 * 0.1 ** flaw.number("taper")  # the width falls with |along| to this power
    ends = n.maths("POWER", n.maths("MINIMUM", n.maths("ABSOLUTE", along), 1.0), blunt)
    half = n.maths("MULTIPLY", half, n.maths("SUBTRACT", 1.0, ends))
    half = _vary_half_width(flaw, half, x, row)
    edge = n.maths("SUBTRACT", 1.0, n.maths("DIVIDE", off, n.maths("MAXIMUM", half, 1e-4)))
    if count > 1:  # all lines share one label, in each strip as long as its line
        within = n.maths("LESS_THAN", n.maths("ABSOLUTE", n.maths("DIVIDE", y, flaw.aspect)), 1.0)
        reached = n.maths("LESS_THAN", n.maths("ABSOLUTE", along), 1.0)
        return Outline(edge, n.maths("MINIMUM", within, reached))
    return Outline(edge, _line_label(flaw, off, half, flaw.pixel / flaw.aspect / 2))


def _add_ragged_noise(flaw: Flaw, y: Value) -> Value:
    """Add small noise to y, so that the borders of the lines are ragged."""
    n, ragged = flaw.nodes, flaw.number("ragged")
    if ragged == 0:
        return y
    size = flaw.aspect / flaw.number("strands")
    noise = flaw.noise(flaw.cells(1.5 * size, 3.0, stream=7), detail=3, rough=0.6)
    return n.maths("MULTIPLY_ADD", n.maths("SUBTRACT", noise, 0.5), 1.6 * ragged * size, y)


def _line_label(flaw: Flaw, off: Value, half: Value, pixel: float) -> Value:
    """Return 1 within the half width of a line.

    A line narrower than a pixel is labelled one pixel wide, and not at all where it fades out.
    """
    n = flaw.nodes
    if pixel == 0:
        return flaw.above(half, off)
    label_half = n.maths("MAXIMUM", half, 0.75 * pixel)
    return n.maths("MINIMUM", flaw.above(label_half, off), flaw.above(half, 0.06 * pixel))


def _strip_cells(flaw: Flaw, x: Value, strip: Value, size: float, stream: int) -> Value:
    """Return coordinates in noise cells along x; every strip has a row of cells of its own."""
    n, shift = flaw.nodes, flaw.shift(stream)
    return n.combine(
        n.maths("MULTIPLY_ADD", x, 1 / size, shift[0]), n.maths("MULTIPLY_ADD", strip, 7.3, shift[1]), 0.0
    )


def _vary_half_width(flaw: Flaw, half: Value, x: Value, strip: Value) -> Value:
    """Return the half width of a line, with variations and gaps."""
    n, ragged, breaks = flaw.nodes, flaw.number("ragged"), flaw.number("breaks")
    if ragged > 0:
        noise = flaw.noise(_strip_cells(flaw, x, strip, 0.12, 4), detail=4, rough=0.6)
        half = n.maths("MULTIPLY", half, n.ramp(noise, 0.5 - SWING, 0.5 + SWING, 1 - ragged, 1.0))
    if breaks > 0:
        at = 0.5 - SWING + 2 * SWING * breaks
        noise = flaw.noise(_strip_cells(flaw, x, strip, 0.2, 5), detail=2)
        half = n.maths("MULTIPLY", half, flaw.smooth(noise, at - 0.06, at + 0.02))
    return half


def crack(flaw: Flaw) -> Outline:
    """Build a pointed slit and its branches on distorted coordinates, which make them jagged."""
    n, wander = flaw.nodes, flaw.number("wander")
    sway = 3.0 * wander * flaw.aspect
    noise = flaw.noise(flaw.cells(flaw.number("kink"), stream=1), detail=6, rough=0.55, output="Color")
    aside = n.vector("SUBTRACT", noise, (0.5, 0.5, 0.5))
    warped = n.vector("MULTIPLY_ADD", aside, (0.3 * sway, sway, 0.0), flaw.place)
    opening = n.ramp(flaw.noise(flaw.cells(0.15, stream=2), detail=2), 0.3, 0.7, 0.5, 1.0)
    half_width = flaw.number("thickness")
    pieces = [_slit(flaw, warped, opening, half_width)]
    for at, angle, length in _branches(flaw):
        middle = (at + 0.92 * length * math.cos(angle), 0.92 * length * math.sin(angle), 0.0)
        frame = flaw.moved(warped, middle, (0.0, 0.0, angle), length)
        pieces.append(_slit(flaw, frame, opening, 0.7 * half_width / length, length))
    edge, label = pieces[0].edge, pieces[0].label
    for piece in pieces[1:]:
        edge, label = n.maths("MAXIMUM", edge, piece.edge), n.maths("MAXIMUM", label, piece.label)
    return Outline(edge, label)


def _slit(flaw: Flaw, place: Value, opening: Value, half_width: float, unit: float = 1.0) -> Outline:
    """Build a pointed slit from x = -1 to 1.

    half_width: its greatest half width.
    unit: length of the slit's own unit, in half lengths of the flaw.
    """
    n = flaw.nodes
    x, y, _ = n.separate(place)
    square = n.maths("MULTIPLY_ADD", n.maths("MULTIPLY", x, x), -1.0, 1.0)
    bulge = n.maths("SQRT", n.maths("MAXIMUM", square, 0.0))
    half = n.maths("MULTIPLY", n.maths("MULTIPLY", bulge, opening), half_width)
    off = n.maths("ABSOLUTE", y)
    edge = n.maths("SUBTRACT", 1.0, n.maths("DIVIDE", off, n.maths("MAXIMUM", half, 1e-5)))
    return Outline(edge, _line_label(flaw, off, half, flaw.pixel / unit))


def _branches(flaw: Flaw) -> list[tuple[float, float, float]]:
    """Return start along x, angle and half length of each branch."""
    rng = np.random.default_rng(int(abs(flaw.spec.seed) * 1e6))
    branches = []
    for _ in range(round(flaw.number("branches"))):
        angle = math.radians(rng.uniform(25, 60)) * (1 if rng.uniform() < 0.5 else -1)
        length = min(rng.uniform(0.12, 0.3), 0.45 * flaw.aspect / abs(math.sin(angle)))
        branches.append((float(rng.uniform(-0.75, 0.45)), angle, float(length)))
    return branches


def pits(flaw: Flaw) -> Outline:
    """Build many small spots, denser in the middle and in clumps."""
    n, stretch, size = flaw.nodes, flaw.number("stretch"), 2 * flaw.number("cell")
    cells = flaw.cells(size, stretch, 2)
    spots = n.cells(_warp_cells(flaw, cells, 2.0, 1.0, detail=2), dimensions="2D")
    # Whether a pit exists is decided at its centre, so that no pit is cut.
    back, shift = (size * stretch, size, 0.0), flaw.shift(2)
    origin = (-shift[0] * back[0], -shift[1] * back[1], 0.0)
    middle = n.vector("MULTIPLY_ADD", spots.outputs["Position"], back, origin)
    chance, size_noise, _ = n.separate(spots.outputs["Color"])
    exists = flaw.above(_pit_probability(flaw, middle), chance)
    radius = n.maths("MULTIPLY", n.ramp(size_noise, 0.0, 1.0, 0.4, 1.0), flaw.number("pit"))
    radius = n.maths("MULTIPLY_ADD", radius, exists, 1e-3)
    edge = n.maths("SUBTRACT", 1.0, n.maths("DIVIDE", spots.outputs["Distance"], radius))
    return Outline(edge, flaw.above(_pit_probability(flaw, flaw.place), 0.3 * flaw.number("density")))


def _warp_cells(
    flaw: Flaw, cells: Value, finer: float, far: float, detail: float, rough: float = 0.5
) -> Value:
    """Distort cells by noise in proportion to "ragged"; finer: frequency of the noise; far: amplitude."""
    n, amount = flaw.nodes, far * flaw.number("ragged")
    if amount == 0:
        return cells
    noise = flaw.noise(n.vector("MULTIPLY", cells, (finer, finer, 0.0)), detail, rough, output="Color")
    warp = n.vector("SUBTRACT", noise, (0.5, 0.5, 0.5))
    return n.vector("MULTIPLY_ADD", warp, (amount, amount, 0.0), cells)


def _pit_probability(flaw: Flaw, at: Value) -> Value:
    """Return the probability of a pit at a point."""
    n, clump = flaw.nodes, flaw.number("clump")
    chance: Value = n.ramp(flaw.oval(at), 0.0, 0.3, 0.0, flaw.number("density"))
    if clump == 0:
        return chance
    lumps = flaw.noise(flaw.cells(12 * flaw.number("cell"), stream=3, at=at), detail=1)
    return n.maths("MULTIPLY", chance, n.ramp(lumps, 0.38, 0.55, 1 - clump, 1.0))


def network(flaw: Flaw) -> Outline:
    """Build crooked lines between cells, with gaps."""
    n, size = flaw.nodes, 2 * flaw.number("cell")
    cells = flaw.cells(size, flaw.number("stretch"), 2)
    cells = _warp_cells(flaw, cells, 1.3, 1.6, detail=4, rough=0.6)
    lines = n.cells(cells, "DISTANCE_TO_EDGE", "2D").outputs["Distance"]
    inside = flaw.oval()
    at = 0.5 - SWING + 2 * SWING * flaw.number("gaps")
    fade = flaw.smooth(flaw.noise(flaw.cells(1.5 * size, stream=4)), at - 0.08, at + 0.12)
    half = n.maths("MULTIPLY", n.maths("MULTIPLY", fade, n.ramp(inside, 0.0, 0.25)), flaw.number("thickness"))
    edge = n.maths("SUBTRACT", 1.0, n.maths("DIVIDE", lines, n.maths("MAXIMUM", half, 1e-4)))
    return Outline(edge, flaw.above(inside, 0.05))


OUTLINES: Mapping[str, Callable[[Flaw], Outline]] = {
    "blot": blot,
    "ring": ring,
    "streak": streak,
    "crack": crack,
    "pits": pits,
    "network": network,
}
