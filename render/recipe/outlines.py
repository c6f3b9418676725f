"""Outlines of flaws and their parameters. Lengths are shares of the flaw's own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from render.shapes.kernels.surface import Parameter

#: Numbers that every outline takes.
COMMON: Mapping[str, Parameter] = MappingProxyType(
    {
        "turn_deg": Parameter(0, -360, 360, "direction of the length on the surface, from the part's x axis"),
        "bowl": Parameter(0.6, 0.02, 1, "where the full depth is reached: 0.02 steep walls, 1 in the middle"),
        "rim_width": Parameter(0.25, 0.01, 2, "width of the raised edge; 1: half the flaw's width"),
        "grain": Parameter(0, 0, 1, "patchiness of depth and cover within the outline"),
        "grain_size": Parameter(0.1, 0.005, 2, "size of the patches; 1: half the flaw's length"),
        "grain_detail": Parameter(4, 0, 10, "octaves of ever finer patches"),
        "hole_share": Parameter(1, 0.05, 1, "how much of a hole's outline is gone, from the middle"),
        "through": Parameter(0.5, 0.01, 10, "how deep a hole takes material away, in lengths of the flaw"),
    }
)
_WANDER = Parameter(0.3, 0, 1, "raggedness of the border; 0: an ellipse")
_LUMP = Parameter(0.4, 0.02, 4, "size of the lumps of the border; 1: half the flaw's length")
_STRETCH = Parameter(1, 0.1, 10, "how far features are drawn out along the length")

#: What each outline takes on top; the keys are those of `render.worker.defects.defects.OUTLINES`.
OUTLINES: Mapping[str, Mapping[str, Parameter]] = MappingProxyType(
    {
        "blot": {"wander": _WANDER, "lump": _LUMP},
        "ring": {
            "wander": _WANDER,
            "lump": _LUMP,
            "thickness": Parameter(0.2, 0.02, 1, "width of the band; 1: no hole is left in the middle"),
        },
        "streak": {
            "strands": Parameter(1, 1, 40, "parallel lines that share the width"),
            "wander": Parameter(0.2, 0, 1, "how far a line strays sideways within its strip"),
            "taper": Parameter(0.5, 0, 1, "0: blunt ends, 1: pointed"),
            "ragged": Parameter(0.3, 0, 1, "how much a line's width varies"),
            "breaks": Parameter(0.1, 0, 1, "share of the length in which a line is interrupted"),
        },
        "crack": {
            "wander": Parameter(0.5, 0, 1, "how far it strays; 1: over the whole width"),
            "branches": Parameter(1, 0, 8, "side cracks"),
            "thickness": Parameter(0.012, 0.0005, 0.3, "greatest opening, as a share of the length"),
            "kink": Parameter(0.5, 0.05, 4, "size of the kinks; 1: half the length"),
        },
        "pits": {
            "wander": _WANDER,
            "lump": _LUMP,
            "cell": Parameter(0.05, 0.002, 0.5, "distance between pits, as a share of the length"),
            "pit": Parameter(0.35, 0.02, 0.6, "radius of the largest pits, as a share of the distance"),
            "density": Parameter(0.6, 0, 1, "share of the places that have a pit"),
            "clump": Parameter(0.3, 0, 1, "how much pits gather in places"),
            "ragged": Parameter(0.3, 0, 1, "how far a pit is from an ellipse"),
            "stretch": _STRETCH,
        },
        "network": {
            "wander": _WANDER,
            "lump": _LUMP,
            "cell": Parameter(0.1, 0.002, 0.5, "size of the meshes, as a share of the length"),
            "thickness": Parameter(0.06, 0.002, 0.5, "half width of a line, as a share of a mesh"),
            "gaps": Parameter(0.4, 0, 1, "share of the lines that are missing"),
            "ragged": Parameter(0.5, 0, 1, "how crooked the lines are"),
            "stretch": _STRETCH,
        },
    }
)


def parameters(outline: str) -> dict[str, Parameter]:
    """Numbers that an outline takes."""
    return {**COMMON, **OUTLINES[outline]}


def feature_width(outline: str, size: tuple[float, float], numbers: Mapping[str, float]) -> float:
    """Width of one dent, line or pit of a flaw of this length and width, in their unit."""
    known = OUTLINES[outline]
    length, width = size

    def number(name: str) -> float:
        return numbers.get(name, known[name].default)

    if outline == "ring":
        return width / 2 * number("thickness")
    if outline == "streak":
        # Of many lines each takes about half of its strip.
        return width / number("strands") * (1.0 if number("strands") < 1.5 else 0.5)
    if outline == "crack":
        return length * number("thickness")
    if outline == "pits":
        return length * number("cell") * 2 * number("pit")
    if outline == "network":
        return length * number("cell") * 2 * number("thickness")
    return width
