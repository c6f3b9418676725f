"""Draws light, background and sensor settings."""

from __future__ import annotations

import math

from numpy.random import Generator
from scipy.spatial.transform import Rotation

from render.assets.load import Assets
from render.core.colour import kelvin, linear
from render.core.spec import BackgroundSpec, LampSpec, LightSpec, SensorSpec
from render.geometry.transforms import random_rotation
from render.planner.materials import hsv
from render.recipe.distributions import draw, draw_int, draw_word
from render.recipe.tables import Background, Lamps, Light, Sensor


def light(recipe: Light, assets: Assets, rng: Generator) -> LightSpec:
    """Draw the surroundings and lamps of one scene."""
    sky = draw_word(recipe.sky, rng)
    if recipe.sky_folder:
        panoramas = assets.pictures[recipe.sky_folder]
        sky = str(panoramas[int(rng.integers(len(panoramas)))])
    turn = (0.0, 0.0, math.radians(draw(recipe.rotation_deg, rng)))
    if rng.uniform() < recipe.tumble:
        x, y, z = Rotation.from_matrix(random_rotation(rng)).as_euler("xyz").tolist()
        turn = (x, y, z)
    lamps = tuple(
        _lamp(table, assets, rng) for table in recipe.lamps for _ in range(draw_int(table.count, rng))
    )
    return LightSpec(sky, draw(recipe.strength, rng), turn, lamps)


def _lamp(lamps: Lamps, assets: Assets, rng: Generator) -> LampSpec:
    height = draw(lamps.height_m, rng)
    reach, angle = height * draw(lamps.reach, rng) * math.sqrt(rng.uniform()), rng.uniform(0, 2 * math.pi)
    return LampSpec(
        kind=lamps.kind,
        location=(reach * math.cos(angle), reach * math.sin(angle), height),
        power_w=draw(lamps.power_w, rng),
        colour=kelvin(draw(lamps.kelvin, rng)),
        size_m=draw(lamps.size_m, rng),
        angle_rad=math.radians(draw(lamps.angle_deg, rng)),
        ies=str(assets.files[lamps.ies]) if lamps.ies else "",
    )


def background(recipe: Background, assets: Assets, rng: Generator) -> BackgroundSpec:
    """Draw the background of one scene; it is procedural if the folder holds no photographs."""
    kind = draw_word(recipe.kind, rng)
    photos = assets.pictures.get(recipe.folder, ()) if recipe.folder else ()
    gain = draw(recipe.gain, rng)
    if kind == "sky":
        return BackgroundSpec()
    if kind == "photo" and photos:
        share = float(rng.uniform(0.4, 1.0))
        x, y = (rng.uniform(0, 1, 2) * (1 - share)).tolist()
        return BackgroundSpec(
            kind="photo",
            photo=str(photos[int(rng.integers(len(photos)))]),
            crop=(x, y, share),
            quarter_turns=int(rng.integers(4)),
            flip=bool(rng.integers(2)),
            gain=gain,
        )
    colours = tuple(
        linear(hsv(rng.uniform(), rng.uniform(0, 0.9), rng.uniform(0.05, 0.95)))
        for _ in range(int(rng.integers(2, 6)))
    )
    return BackgroundSpec(kind="procedural", colours=colours, gain=gain, seed=int(rng.integers(2**31)))


def sensor(recipe: Sensor, rng: Generator) -> SensorSpec:
    """Draw the sensor settings of one view."""
    return SensorSpec(
        exposure=draw(recipe.exposure, rng),
        white_balance=draw(recipe.white_balance, rng),
        warmth=draw(recipe.warmth, rng),
        saturation=draw(recipe.saturation, rng),
        blur_px=draw(recipe.blur_px, rng),
        motion_px=draw(recipe.motion_px, rng),
        motion_rad=float(rng.uniform(0, math.pi)),
        vignette=draw(recipe.vignette, rng),
        noise=draw(recipe.noise, rng),
        gamma=draw(recipe.gamma, rng),
        grey=recipe.grey,
        sharpen=draw(recipe.sharpen, rng),
        jpeg_quality=draw_int(recipe.jpeg_quality, rng),
        seed=int(rng.integers(2**31)),
    )
