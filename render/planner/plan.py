"""Plans a scene: from a recipe, its assets, a seed and a scene number to a SceneSpec of fixed values.

The same four inputs always give the same SceneSpec. Each topic has its own random stream: one more lamp, for
example, does not change the position of a part.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.random import SeedSequence

from render.assets.bodies import surface_of
from render.assets.load import Assets
from render.core.spec import LabelSpec, QualitySpec, SceneSpec, ViewSpec
from render.planner import defects
from render.planner.cameras import aim
from render.planner.defect_schedule import schedule_defects
from render.planner.distractors import scatter
from render.planner.light import background, light, sensor
from render.planner.parts import PartPlacer, placement_area
from render.planner.stage import set_stage
from render.recipe.tables import Recipe

_STREAMS = ("camera", "stage", "parts", "distractors", "defects", "light", "background", "sensor", "noise")


def views_per_scene(recipe: Recipe) -> int:
    """Return the number of images per scene: each camera takes `layout.views`."""
    return recipe.layout.views * len(recipe.cameras)


def plan(recipe: Recipe, assets: Assets, seed: int, scene: int) -> SceneSpec:
    """Draw every distribution of the recipe for one scene of the dataset with this seed."""
    rng = {
        name: np.random.default_rng(SeedSequence([seed, scene], spawn_key=(number,)))
        for number, name in enumerate(_STREAMS)
    }
    width, height = recipe.image.width, recipe.image.height
    cameras = [
        aim(camera, width, height, rng["camera"])
        for camera in recipe.cameras
        for _ in range(recipe.layout.views)
    ]
    stage, tray = set_stage(recipe.stage, assets, cameras[0][1], rng["stage"])
    area = placement_area(recipe, cameras[0][0], cameras[0][1], tray, rng["parts"])
    parts = PartPlacer(recipe, assets, seed)
    parts.place_all(area, rng["parts"])
    kinds = schedule_defects(recipe, seed, scene)
    only = [camera for camera, _ in cameras]
    parts_with_flaws = defects.place(
        recipe, kinds, tuple(parts.objects), only, surface_of, rng["defects"], assets=assets
    )
    distractors = scatter(recipe, assets, area, rng["distractors"])
    return SceneSpec(
        seed=seed,
        index=scene,
        width=width,
        height=height,
        format=recipe.image.format,
        quality=msgspec.convert(recipe.quality, QualitySpec, from_attributes=True),
        labels=msgspec.convert(recipe.labels, LabelSpec, from_attributes=True),
        objects=(*parts_with_flaws, *distractors, *stage),
        views=tuple(
            ViewSpec(
                index=scene * len(only) + number,
                camera=camera,
                sensor=sensor(recipe.sensor, rng["sensor"]),
                cycles_seed=int(rng["noise"].integers(2**31)),
            )
            for number, camera in enumerate(only)
        ),
        light=light(recipe.light, assets, rng["light"]),
        background=background(recipe.background, assets, rng["background"]),
        unplaced=tuple(parts.unplaced),
    )
