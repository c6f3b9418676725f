"""Draws materials: from the distributions of a recipe to fixed values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from render.assets.load import Assets
from render.core.colour import from_hex, linear, shifted
from render.core.spec import MaterialSpec, Vector
from render.recipe.distributions import draw, pick
from render.recipe.tables import Material, Scheme

#: Default roughness and colour (sRGB) of each kind.
_ROUGHNESS = {
    "plastic": 0.3, "metal": 0.3, "paint": 0.25, "rubber": 0.8, "cast": 0.65, "ground": 0.3, "rust": 0.85,
    "glass": 0.02, "image": 0.5, "pbr": 0.5,
}  # fmt: skip
_COLOUR = {
    "plastic": "#b8b8b4", "metal": "#c4c4c6", "paint": "#9a2020", "rubber": "#1c1c1e", "cast": "#5a5a5c",
    "ground": "#c8c8ca", "rust": "#7a4628", "glass": "#f0f4f4", "image": "#b0b0b0", "pbr": "#b0b0b0",
}  # fmt: skip


def draw_material(materials: Sequence[Material], assets: Assets, rng: Generator) -> MaterialSpec:
    """Choose a material by weight and draw its values."""
    material = materials[pick(tuple(m.weight for m in materials), rng)]
    kind = material.kind
    colours, marble, clear = _paint(material, rng)
    random_roughness = float(rng.uniform(0.1, 0.9))
    metallic = float(rng.uniform() < 0.3) if kind == "random" else draw(material.metallic, rng)
    roughness = (
        material.roughness if material.roughness is not None else _ROUGHNESS.get(kind, random_roughness)
    )
    numbers = {
        "roughness": draw(roughness, rng),
        "metallic": metallic,
        "marble": marble,
        "translucency": clear,
        "wear": draw(material.wear, rng),
        "rust": draw(material.rust, rng),
        "grain_m": draw(material.grain_m, rng),
        "bump": draw(material.bump, rng),
    }
    images, tile = {}, draw(material.tile_m, rng)
    if kind in ("image", "pbr"):
        sets = assets.textures[material.folder]
        chosen = sets[int(rng.integers(len(sets)))].images
        images = {role: str(path) for role, path in chosen.items() if kind == "pbr" or role == "colour"}
    return MaterialSpec(
        kind=kind,
        colours={name: linear(colour) for name, colour in colours.items()},
        numbers={name: value for name, value in numbers.items() if value != 0 or name == "roughness"},
        images=images,
        tile_m=tile,
        seed=float(rng.uniform(-100, 100)),
    )


def _paint(material: Material, rng: Generator) -> tuple[dict[str, Vector], float, float]:
    """Draw sRGB colours by role, how strongly the second colour shows, and the translucency."""
    if material.kind == "random" or rng.uniform() < material.random:
        return _random_paint(material, rng)
    scheme = _scheme(material, rng)
    jitter = draw(material.colour_jitter, rng)
    shift = (rng.uniform(-1, 1, 3) * jitter).tolist()
    second = scheme.second or scheme.body
    colours = {"body": shifted(from_hex(scheme.body), *shift), "second": shifted(from_hex(second), *shift)}
    if scheme.accent:
        colours["accent"] = from_hex(scheme.accent)
    return colours, draw(scheme.marble, rng), draw(scheme.translucency, rng)


def _scheme(material: Material, rng: Generator) -> Scheme:
    if material.schemes:
        return material.schemes[pick(tuple(s.weight for s in material.schemes), rng)]
    bodies = material.colours or (_COLOUR[material.kind],)
    return Scheme(
        body=bodies[int(rng.integers(len(bodies)))],
        accent=material.accent,
        second=material.second,
        marble=material.marble,
        translucency=material.translucency,
    )


def _random_paint(material: Material, rng: Generator) -> tuple[dict[str, Vector], float, float]:
    """Draw a random body colour, and an accent that contrasts with it."""
    body = hsv(rng.uniform(), rng.uniform(0.0, 1.0), rng.uniform(0.1, 1.0))
    dark = 0.299 * body[0] + 0.587 * body[1] + 0.114 * body[2] < 0.5
    accent = hsv(rng.uniform(), rng.uniform(0, 0.5), rng.uniform(0.85, 1.0) if dark else rng.uniform(0, 0.15))
    second = shifted(body, rng.uniform(-0.2, 0.2), 0.0, rng.uniform(-0.4, 0.1))
    marble_probability = 0.6 if material.kind == "random" else 0.3
    marble = float(rng.uniform(0, 1)) if rng.uniform() < marble_probability else 0.0
    return {"body": body, "second": second, "accent": accent}, marble, 0.0


def hsv(hue: float, saturation: float, value: float) -> Vector:
    """Return the sRGB colour of hue, saturation and value, each in [0, 1]."""
    return shifted((1.0, 0.0, 0.0), float(np.clip(hue, 0, 1)), saturation - 1.0, value - 1.0)
