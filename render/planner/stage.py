"""Draws the stage: a table, a table with a tray, a ground that only receives shadows, or nothing."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from shapely import Geometry

from render.assets.load import Assets
from render.core.colour import linear
from render.core.spec import MaterialSpec, MeshSpec, ObjectSpec
from render.geometry.placement import tray_floor
from render.geometry.transforms import about, pose
from render.planner.materials import hsv
from render.recipe.distributions import draw, draw_word
from render.recipe.tables import Stage

#: Side of the ground, in working distances.
_REACH = 30.0
_THICK = 0.001  # thickness of the ground, as a share of its side
_UP = np.array([0.0, 0.0, 1.0])


def set_stage(
    recipe: Stage, assets: Assets, distance_m: float, rng: Generator
) -> tuple[tuple[ObjectSpec, ...], Geometry | None]:
    """Draw the stage of one scene; return its objects, and the floor of the tray if it has one."""
    kind = draw_word(recipe.kind, rng)
    surface = _surface(recipe, assets, rng)
    walls, tray = _walls(recipe, rng)  # always drawn, so that the other draws do not depend on the kind
    if kind == "none":
        return (), None
    ground = _ground(surface, distance_m * _REACH, kind == "catcher")
    if kind != "tray":
        return (ground,), None
    return (ground, *walls), tray


def _surface(recipe: Stage, assets: Assets, rng: Generator) -> MaterialSpec:
    hue, saturation, value = (draw(v, rng) for v in (recipe.hue, recipe.saturation, recipe.value))
    pattern = draw_word(recipe.pattern, rng)
    numbers = {
        "roughness": draw(recipe.roughness, rng),
        "metallic": draw(recipe.metallic, rng),
        "grain": draw(recipe.grain, rng),
        "grain_m": draw(recipe.grain_m, rng),
    }
    colours = {
        "body": linear(hsv(hue, saturation, value)),
        "second": linear(hsv(hue, min(1.0, saturation * 1.2), value * 0.55)),
    }
    seed = float(rng.uniform(-100, 100))
    textured, number, tile = rng.uniform() < recipe.textured, rng.uniform(), float(rng.uniform(0.5, 2.0))
    image_sets = assets.textures.get(recipe.folder, ()) if recipe.folder else ()
    if image_sets and textured:
        images = {r: str(p) for r, p in image_sets[int(number * len(image_sets))].images.items()}
        return MaterialSpec("pbr", colours, numbers, images, tile_m=tile * 20 * numbers["grain_m"], seed=seed)
    return MaterialSpec(f"stage-{pattern}", colours, numbers, seed=seed)


def _ground(material: MaterialSpec, side_m: float, catcher: bool) -> ObjectSpec:
    """Return a flat box whose upper face is the plane z = 0."""
    return ObjectSpec(
        name="ground",
        mesh=MeshSpec(shape="box", form={"y": 1.0, "z": _THICK}),
        pose=pose(np.eye(3), np.array([0.0, 0.0, -side_m * _THICK / 2]), side_m),
        material=material,
        role="stage",
        shadow_catcher=catcher,
    )


def _walls(recipe: Stage, rng: Generator) -> tuple[tuple[ObjectSpec, ...], Geometry]:
    """Draw four walls around the origin; return them and the floor between them."""
    x = draw(recipe.tray_m, rng)
    y = x * draw(recipe.tray_aspect, rng)
    h, w = draw(recipe.wall_height_m, rng), draw(recipe.wall_m, rng)
    yaw = math.radians(draw(recipe.tray_yaw_deg, rng))
    rim = linear(hsv(rng.uniform(), 0.15, draw(recipe.rim_value, rng)))
    sides = [
        ((0.0, (y + w) / 2, h / 2), (x + 2 * w, w, h)),
        ((0.0, -(y + w) / 2, h / 2), (x + 2 * w, w, h)),
        (((x + w) / 2, 0.0, h / 2), (w, y, h)),
        ((-(x + w) / 2, 0.0, h / 2), (w, y, h)),
    ]
    turn = about(_UP, yaw)
    walls = tuple(
        ObjectSpec(
            name=f"wall {number}",
            mesh=MeshSpec(shape="box", form={"y": size[1] / size[0], "z": size[2] / size[0]}),
            pose=pose(turn, turn @ np.array(place), size[0]),
            material=MaterialSpec("plastic", {"body": rim, "second": rim}, {"roughness": 0.6}),
            role="stage",
        )
        for number, (place, size) in enumerate(sides)
    )
    return walls, tray_floor((x, y), yaw)
