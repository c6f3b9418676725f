"""Presets of flaws by name, read from presets.toml.

A flaw is an outline with any of: deformation (depth, rim, roughness), encrustation (a material of opacity
`cover`) and a hole. A length in metres in the recipe's [[defects.kinds]] replaces the preset's share.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from render.recipe.distributions import Distribution, Scalar
from render.recipe.outlines import OUTLINES
from render.recipe.tables import ANY_TURN, Defect, Material


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of flaw. All other fields are those of `render.recipe.tables.Defect`.

    size: length as a share of the part's second longest side.
    aspect: width over length.
    depth, rim: into and out of the material, as shares of `render.recipe.outlines.feature_width`.
    """

    meaning: str
    outline: str
    size: Scalar = Distribution(uniform=(0.08, 0.2))
    aspect: Scalar = Distribution(uniform=(0.6, 1.0))
    depth: Scalar = 0.0
    rim: Scalar = 0.0
    roughness: Scalar = 0.0
    cover: Scalar = 1.0
    material: Material | None = None
    hole: bool = False
    softness: Scalar = 0.1
    values: dict[str, Scalar] = {}


PRESETS: Mapping[str, Preset] = MappingProxyType(
    msgspec.toml.decode(Path(__file__).with_suffix(".toml").read_bytes(), type=dict[str, Preset])
    | {"custom": Preset("a blot that does nothing yet: say what in the recipe", "blot")}
    | {
        f"custom-{outline}": Preset(f"the outline {outline}, doing nothing yet", outline)
        for outline in OUTLINES
        if outline != "blot"
    }
)


def numbers_of(defect: Defect) -> dict[str, Scalar]:
    """What the outline of a recipe's defect gets: the preset's values, replaced by the recipe's."""
    return {"turn_deg": ANY_TURN, **PRESETS[defect.kind].values, **defect.values}
