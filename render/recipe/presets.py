"""Presets of flaws, by name, and the parameters of their outlines.

A flaw is an outline with any of: deformation (depth, rim, roughness), encrustation (a material of opacity
`cover`) and a hole. A preset gives all lengths as shares, so that it suits a bolt and a car; a length in
metres in the recipe's [[defects.kinds]] replaces the share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from render.core.errors import RecipeError
from render.recipe.distributions import Distribution, Scalar
from render.recipe.outlines import COMMON, OUTLINES
from render.recipe.tables import ANY_TURN, Defect, Material


def _uniform(low: float, high: float) -> Distribution:
    return Distribution(uniform=(low, high))


def _log(low: float, high: float) -> Distribution:
    return Distribution(loguniform=(low, high))


def _choice(*values: float) -> Distribution:
    return Distribution(choice=values)


@dataclass(frozen=True)
class Preset:
    """A kind of flaw. All other fields are those of `render.recipe.tables.Defect`.

    size: length as a share of the part's second longest side.
    aspect: width over length.
    depth, rim: into and out of the material, as shares of the width of one feature
        (`render.recipe.outlines.feature_width`: a whole dent, one line of a crack).
    """

    meaning: str
    outline: str
    size: Scalar = field(default_factory=lambda: _uniform(0.08, 0.2))
    aspect: Scalar = field(default_factory=lambda: _uniform(0.6, 1.0))
    depth: Scalar = 0.0
    rim: Scalar = 0.0
    roughness: Scalar = 0.0
    cover: Scalar = 1.0
    material: Material | None = None
    hole: bool = False
    softness: Scalar = 0.1
    values: Mapping[str, Scalar] = field(default_factory=dict)


# Torn metal scatters: a mirror of bare steel would be black in a dark room. On a bright part a scratch is
# dark.
_TORN = Material(
    kind="plastic", colours=("#d2d2d0", "#e2e2e2", "#c2c0bc", "#3a3836"), roughness=_uniform(0.35, 0.6)
)
_OXIDE = Material(kind="cast", colours=("#2a2826", "#383532", "#1f1e1e"), roughness=_uniform(0.6, 0.9))
_SOOT = Material(kind="plastic", colours=("#120f0d", "#1e1712", "#2b1d12"), roughness=0.9)
_GAP = Material(kind="plastic", colours=("#050505", "#0c0b0a"), roughness=1.0)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "dent": Preset(
            "pressed in, smooth, nothing lost",
            "blot",
            size=_uniform(0.08, 0.25),
            aspect=_uniform(0.65, 1.0),
            depth=_uniform(0.05, 0.15),
            rim=_uniform(0.0, 0.015),
            softness=0.3,
            values={"wander": _uniform(0.0, 0.15), "bowl": _uniform(0.7, 1.0), "rim_width": 0.3},
        ),
        "scratch": Preset(
            "one or a few fine lines, bare metal in them",
            "streak",
            size=_log(0.12, 0.6),
            aspect=_log(0.008, 0.04),
            depth=_uniform(0.1, 0.3),
            rim=_uniform(0.02, 0.1),
            roughness=_uniform(0.0, 0.15),
            cover=_uniform(0.7, 1.0),
            material=_TORN,
            softness=_uniform(0.4, 0.9),
            values={
                "strands": Distribution(choice=(1, 2, 3), weights=(0.6, 0.25, 0.15)),
                "wander": _uniform(0.0, 0.5),
                "taper": _uniform(0.3, 1.0),
                "ragged": _uniform(0.2, 0.6),
                "breaks": _uniform(0.0, 0.35),
            },
        ),
        "shock": Preset(
            "the mark of a hard blow: a small deep crater with a raised edge",
            "blot",
            size=_uniform(0.04, 0.12),
            aspect=_uniform(0.6, 1.0),
            depth=_uniform(0.15, 0.3),
            rim=_uniform(0.03, 0.09),
            roughness=_uniform(0.05, 0.25),
            softness=0.1,
            values={"wander": _uniform(0.25, 0.5), "bowl": _uniform(0.35, 0.7), "lump": _uniform(0.4, 0.9)},
        ),
        "inclusion": Preset(
            "slag or oxide rolled out into dark streaks along one direction",
            "streak",
            size=_log(0.12, 0.5),
            aspect=_uniform(0.08, 0.25),
            depth=_uniform(0.0, 0.03),
            cover=_uniform(0.5, 0.9),
            material=_OXIDE,
            softness=_uniform(0.8, 1.6),
            values={
                "strands": Distribution(choice=(1, 2, 3, 4), weights=(0.35, 0.3, 0.2, 0.15)),
                "wander": _uniform(0.3, 0.8),
                "taper": _uniform(0.3, 0.8),
                "ragged": _uniform(0.5, 0.9),
                "breaks": _uniform(0.0, 0.3),
                "grain": _uniform(0.3, 0.7),
                "grain_size": 0.06,
            },
        ),
        "burn": Preset(
            "scorched: dark and dull, fading outwards",
            "blot",
            cover=_uniform(0.75, 1.0),
            roughness=_uniform(0.15, 0.35),
            material=_SOOT,
            softness=_uniform(0.6, 1.0),
            values={"wander": _uniform(0.3, 0.6), "grain": _uniform(0.1, 0.4), "grain_size": 0.15},
        ),
        "mark": Preset(
            "a dab of chalk, ink or paint",
            "blot",
            size=_uniform(0.06, 0.18),
            aspect=_uniform(0.3, 1.0),
            cover=_uniform(0.45, 0.95),
            material=Material(
                kind="paint",
                colours=("#e8e8e2", "#d8cc40", "#c03028", "#2848a0", "#181818", "#3c8048"),
                roughness=_uniform(0.5, 0.9),
            ),
            softness=_uniform(0.08, 0.3),
            values={"wander": _uniform(0.2, 0.6), "grain": _uniform(0.0, 0.6), "grain_size": 0.06},
        ),
        "hole": Preset(
            "a round piece is missing",
            "blot",
            size=_uniform(0.03, 0.12),
            aspect=_uniform(0.85, 1.0),
            depth=_uniform(0.0, 0.06),
            hole=True,
            material=_OXIDE,
            cover=_uniform(0.3, 0.8),
            softness=0.1,
            values={"wander": _uniform(0.0, 0.12), "hole_share": _uniform(0.86, 0.96), "bowl": 0.3},
        ),
        "break": Preset(
            "broken out: a ragged hole, its edge bent and bare",
            "blot",
            size=_uniform(0.1, 0.3),
            aspect=_uniform(0.4, 0.9),
            depth=_uniform(0.04, 0.12),
            rim=_uniform(0.0, 0.02),
            roughness=_uniform(0.1, 0.3),
            cover=_uniform(0.8, 1.0),
            hole=True,
            material=Material(kind="cast", colours=("#8a8782", "#a29e98", "#5f5b57"), roughness=0.85),
            softness=0.06,
            values={
                "wander": _uniform(0.5, 0.8),
                "lump": _uniform(0.35, 0.8),
                "hole_share": _uniform(0.8, 0.92),
                "bowl": _uniform(0.3, 0.6),
            },
        ),
        "crack": Preset(
            "a jagged gap, tapered, with raised lips and side cracks",
            "crack",
            size=_uniform(0.2, 0.6),
            aspect=_uniform(0.15, 0.35),
            depth=_uniform(0.5, 1.2),
            rim=_uniform(0.05, 0.25),
            material=_GAP,
            cover=_uniform(0.85, 1.0),
            softness=0.3,
            values={
                "wander": _uniform(0.4, 0.9),
                "branches": _choice(0, 1, 2, 3),
                "thickness": _log(0.006, 0.02),
                "kink": _uniform(0.3, 0.7),
                "bowl": 0.5,
                "rim_width": 1.0,
            },
        ),
        "bubble": Preset(
            "a blister: gas under the skin",
            "blot",
            size=_uniform(0.02, 0.08),
            aspect=_uniform(0.8, 1.0),
            depth=_uniform(-0.3, -0.12),
            softness=0.2,
            values={"wander": _uniform(0.0, 0.15), "bowl": _uniform(0.7, 1.0)},
        ),
        "cavern": Preset(
            "an open cavity with a dark, rough inside",
            "blot",
            size=_uniform(0.025, 0.1),
            aspect=_uniform(0.5, 1.0),
            depth=_uniform(0.35, 0.7),
            roughness=_uniform(0.2, 0.5),
            cover=_uniform(0.6, 0.95),
            material=_GAP,
            softness=0.25,
            values={
                "wander": _uniform(0.5, 0.8),
                "bowl": _uniform(0.3, 0.5),
                "grain": 0.35,
                "grain_size": 0.25,
            },
        ),
        "foreign-inclusion": Preset(
            "a lump of something else, stuck in the surface",
            "blot",
            size=_uniform(0.02, 0.08),
            aspect=_uniform(0.4, 1.0),
            depth=_uniform(-0.16, -0.04),
            cover=1.0,
            material=Material(
                kind="cast",
                colours=("#3a2a1c", "#8a5a2c", "#d8d0c0", "#20201e"),
                roughness=_uniform(0.4, 0.9),
            ),
            softness=0.08,
            values={
                "wander": _uniform(0.4, 0.7),
                "bowl": _uniform(0.4, 0.8),
                "grain": 0.25,
                "grain_size": 0.2,
            },
        ),
        "irregularity": Preset(
            "wavy or pimpled skin",
            "blot",
            size=_uniform(0.12, 0.35),
            depth=Distribution(choice=(-0.05, -0.03, 0.03, 0.05)),
            roughness=_uniform(-0.05, 0.15),
            softness=_uniform(0.6, 1.0),
            values={
                "wander": _uniform(0.3, 0.5),
                "bowl": 0.3,
                "grain": 1.0,
                "grain_size": _uniform(0.12, 0.4),
                "grain_detail": _choice(0, 1),
            },
        ),
        "patch": Preset(
            "a stained area with a ragged border",
            "blot",
            size=_log(0.15, 0.45),
            aspect=_uniform(0.35, 0.9),
            roughness=_uniform(0.0, 0.2),
            cover=_uniform(0.55, 0.95),
            material=_OXIDE,
            softness=_uniform(0.2, 0.6),
            values={
                "wander": _uniform(0.45, 0.75),
                "lump": _uniform(0.3, 0.7),
                "grain": _uniform(0.3, 0.6),
                "grain_size": 0.04,
            },
        ),
        "pitting": Preset(
            "many small corroded pits over an area",
            "pits",
            size=_uniform(0.4, 0.9),
            depth=_uniform(0.15, 0.4),
            cover=_uniform(0.55, 0.9),
            material=_OXIDE,
            softness=0.5,
            values={
                "cell": _log(0.014, 0.035),
                "pit": _uniform(0.25, 0.4),
                "density": _uniform(0.5, 0.9),
                "clump": _uniform(0.1, 0.5),
                "bowl": 0.8,
            },
        ),
        "rolled-in-scale": Preset(
            "flecks of scale pressed in by the rolls, drawn out across the strip",
            "pits",
            size=_uniform(0.25, 0.6),
            depth=_uniform(0.04, 0.12),
            cover=_uniform(0.55, 0.9),
            material=_OXIDE,
            softness=_uniform(0.6, 1.0),
            values={
                "cell": _uniform(0.028, 0.05),
                "pit": _uniform(0.3, 0.45),
                "density": _uniform(0.6, 0.9),
                "clump": _uniform(0.5, 0.9),
                "ragged": _uniform(0.5, 0.9),
                "stretch": _uniform(1.5, 2.6),
                "wander": 0.5,
                "bowl": 0.6,
            },
        ),
        "crazing": Preset(
            "a net of fine shallow cracks",
            "network",
            size=_uniform(0.3, 0.8),
            depth=_uniform(0.2, 0.6),
            cover=_uniform(0.6, 0.95),
            material=_GAP,
            softness=0.8,
            values={
                "cell": _log(0.03, 0.09),
                "thickness": _uniform(0.03, 0.08),
                "gaps": _uniform(0.25, 0.55),
                "ragged": _uniform(0.6, 1.0),
                "stretch": _uniform(1.0, 1.8),
                "bowl": 0.6,
            },
        ),
        "custom": Preset("a blot that does nothing yet: say what in the recipe", "blot"),
    }
    | {
        f"custom-{outline}": Preset(f"the outline {outline}, doing nothing yet", outline)
        for outline in OUTLINES
        if outline != "blot"
    }
)


def numbers_of(defect: Defect) -> dict[str, Scalar]:
    """What the outline of a recipe's defect gets: the preset's values, replaced by the recipe's."""
    return {"turn_deg": ANY_TURN, **PRESETS[defect.kind].values, **defect.values}


def check_defect(defect: Defect, path: str) -> None:
    """Raise RecipeError when the kind or one of `values` is unknown, or a value out of range."""
    if defect.kind not in PRESETS:
        raise RecipeError(
            f"{path}.kind = {defect.kind!r}: unknown; expected one of {', '.join(sorted(PRESETS))}"
        )
    known = {**COMMON, **OUTLINES[PRESETS[defect.kind].outline]}
    for name, value in defect.values.items():
        if name not in known:
            raise RecipeError(
                f"{path}.values.{name}: unknown number of {defect.kind}; expected one of {', '.join(known)}"
            )
        low, high = known[name].low, known[name].high
        for extreme in value.extremes() if isinstance(value, Distribution) else (value,):
            if isinstance(extreme, str):
                raise RecipeError(f"{path}.values.{name} = {extreme!r}: expected a number")
            if not low <= extreme <= high:
                raise RecipeError(
                    f"{path}.values.{name} reaches {extreme:g}: expected {low:g} to {high:g} "
                    f"({known[name].meaning})"
                )
