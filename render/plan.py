"""From a recipe and (seed, index) to a scene with every choice made.

Pure: the same three always give the same SceneSpec, whoever asks, in whatever order.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.random import Generator, SeedSequence

from render.colour import from_hex, kelvin, linear, shifted
from render.die import rotation
from render.distributions import draw, draw_int, draw_word, pick
from render.placement import Ground, Square, place, window
from render.recipe import Dice, Recipe
from render.spec import (
    CameraSpec,
    DieSpec,
    LampSpec,
    LightSpec,
    SceneSpec,
    SensorSpec,
    SurfaceSpec,
    ThingSpec,
    TraySpec,
    Vector,
)

_THINGS: tuple[Literal["box", "cylinder", "sphere", "cone"], ...] = ("box", "cylinder", "sphere", "cone")


def plan(recipe: Recipe, seed: int, index: int) -> SceneSpec:
    """Resolve every distribution of the recipe for image `index` of the dataset `seed`."""
    rng = np.random.default_rng(SeedSequence([seed, index]))
    camera = _camera(recipe, rng)
    surface = _surface(recipe, rng)
    spread = draw(recipe.dice.spread, rng)
    width, height = recipe.image.width, recipe.image.height
    ground = Ground(camera, width, height, window(width, height, spread, rng), surface.tray)
    taken: list[Square] = []
    wanted = draw_int(recipe.dice.count, rng)
    dice = [die for _ in range(wanted) if (die := _die(recipe.dice, ground, taken, rng)) is not None]
    return SceneSpec(
        seed=seed,
        index=index,
        width=width,
        height=height,
        format=recipe.image.format,
        samples=recipe.quality.samples,
        denoise=recipe.quality.denoise,
        bounces=recipe.quality.bounces,
        cycles_seed=int(rng.integers(2**31)),
        min_visible_px=recipe.labels.min_visible_px,
        min_visible_fraction=recipe.labels.min_visible_fraction,
        dice=tuple(dice),
        unplaced=wanted - len(dice),
        things=_things(recipe, ground, taken, rng),
        camera=camera,
        light=_light(recipe, rng),
        surface=surface,
        sensor=_sensor(recipe, rng),
    )


def _camera(recipe: Recipe, rng: Generator) -> CameraSpec:
    c = recipe.camera
    view, focal = draw(c.view_m, rng), draw(c.focal_mm, rng)
    return CameraSpec(
        target=(view * draw(c.offset, rng), view * draw(c.offset, rng), 0.0),
        distance_m=view * focal / 36.0,  # a 36 mm wide sensor sees `view` at this distance
        tilt_rad=math.radians(draw(c.tilt_deg, rng)),
        azimuth_rad=math.radians(draw(c.azimuth_deg, rng)),
        roll_rad=math.radians(draw(c.roll_deg, rng)),
        focal_mm=focal,
    )


def _surface(recipe: Recipe, rng: Generator) -> SurfaceSpec:
    s = recipe.surface
    hue, saturation, value = draw(s.hue, rng), draw(s.saturation, rng), draw(s.value, rng)
    colour = _hsv(hue, saturation, value)
    tray = None
    if draw_word(s.kind, rng) == "tray":
        side, wall = draw(s.tray_m, rng), draw(s.wall_m, rng)
        tray = TraySpec(
            inner_m=(side, side * draw(s.tray_aspect, rng)),
            wall_height_m=draw(s.wall_height_m, rng),
            wall_m=wall,
            yaw_rad=math.radians(draw(s.tray_yaw_deg, rng)),
            rim=linear(_hsv(rng.uniform(), 0.15, draw(s.rim_value, rng))),
        )
    return SurfaceSpec(
        pattern=draw_word(s.pattern, rng),
        colour=linear(colour),
        dark=linear(_hsv(hue, min(1.0, saturation * 1.2), value * 0.55)),
        roughness=draw(s.roughness, rng),
        grain=draw(s.grain, rng),
        grain_size_m=draw(s.grain_size_m, rng),
        pattern_seed=float(rng.uniform(-100, 100)),
        tray=tray,
    )


def _die(dice: Dice, ground: Ground, taken: list[Square], rng: Generator) -> DieSpec | None:
    edge = draw(dice.edge_m, rng)
    yaw = math.radians(draw(dice.yaw_deg, rng))
    top = int(rng.integers(1, 7))
    shape = dice.shapes[pick(tuple(s.weight for s in dice.shapes), rng)]
    roughness = draw(dice.roughness, rng)
    body, second, pip, marble, translucency = _finish(dice, rng)
    square = place(ground, edge / 2, yaw, draw(dice.gap_m, rng), taken, rng)
    if square is None:
        return None
    taken.append(square)
    matrix = tuple(float(v) for v in rotation(top, yaw).ravel())
    return DieSpec(
        shape=(shape.roundness, shape.ball, shape.pip_radius, shape.pip_depth),
        edge_m=edge,
        location=(square.x, square.y, edge / 2),
        rotation=matrix,  # type: ignore[arg-type]  # nine numbers
        body=linear(body),
        second=linear(second),
        pip=linear(pip),
        marble=marble,
        marble_seed=float(rng.uniform(-100, 100)),
        translucency=translucency,
        roughness=roughness,
    )


def _finish(dice: Dice, rng: Generator) -> tuple[Vector, Vector, Vector, float, float]:
    """SRGB body, second and pip colours, marbling, translucency."""
    if rng.uniform() < dice.random_finish:
        body = _hsv(rng.uniform(), rng.uniform(0.1, 1.0), rng.uniform(0.1, 1.0))
        dark = 0.299 * body[0] + 0.587 * body[1] + 0.114 * body[2] < 0.5
        pip = _hsv(
            rng.uniform(), rng.uniform(0, 0.5), rng.uniform(0.85, 1.0) if dark else rng.uniform(0, 0.15)
        )
        marble = float(rng.uniform(0, 1)) if rng.uniform() < 0.3 else 0.0
        return body, shifted(body, rng.uniform(-0.2, 0.2), 0, rng.uniform(-0.4, 0.1)), pip, marble, 0.0
    finish = dice.finishes[pick(tuple(f.weight for f in dice.finishes), rng)]
    jitter = draw(dice.colour_jitter, rng)
    dh, ds, dv = (rng.uniform(-1, 1, 3) * jitter).tolist()
    body = shifted(from_hex(finish.body), dh, ds, dv)
    second = shifted(from_hex(finish.second or finish.body), dh, ds, dv)
    return body, second, from_hex(finish.pip), draw(finish.marble, rng), draw(finish.translucency, rng)


def _things(recipe: Recipe, ground: Ground, taken: list[Square], rng: Generator) -> tuple[ThingSpec, ...]:
    things = []
    for _ in range(draw_int(recipe.distractors.count, rng)):
        size = draw(recipe.distractors.size_m, rng)
        yaw = float(rng.uniform(0, 2 * math.pi))
        kind = _THINGS[int(rng.integers(len(_THINGS)))]
        x, y, z = (size * rng.uniform(0.3, 1.0, 3)).tolist()
        colour = _hsv(rng.uniform(), rng.uniform(0, 0.9), rng.uniform(0.05, 0.95))
        roughness = float(rng.uniform(0.1, 0.8))
        square = place(ground, size / 2, yaw, 0.0, taken, rng)
        if square is None:
            continue
        taken.append(square)
        where = (square.x, square.y, float(z) / 2)
        things.append(ThingSpec(kind, where, (float(x), float(y), float(z)), yaw, linear(colour), roughness))
    return tuple(things)


def _light(recipe: Recipe, rng: Generator) -> LightSpec:
    light = recipe.light
    lamps = []
    for _ in range(draw_int(light.lamps, rng)):
        height = draw(light.lamp_height_m, rng)
        reach, angle = height * math.sqrt(rng.uniform()), rng.uniform(0, 2 * math.pi)
        lamps.append(
            LampSpec(
                location=(reach * math.cos(angle), reach * math.sin(angle), height),
                size_m=draw(light.lamp_size_m, rng),
                power_w=draw(light.lamp_power_w, rng),
                colour=kelvin(draw(light.lamp_kelvin, rng)),
            )
        )
    return LightSpec(
        hdri=draw_word(light.hdri, rng),
        strength=draw(light.strength, rng),
        rotation_rad=math.radians(draw(light.rotation_deg, rng)),
        lamps=tuple(lamps),
    )


def _sensor(recipe: Recipe, rng: Generator) -> SensorSpec:
    s = recipe.sensor
    return SensorSpec(
        exposure=draw(s.exposure, rng),
        white_balance=draw(s.white_balance, rng),
        warmth=draw(s.warmth, rng),
        saturation=draw(s.saturation, rng),
        blur_px=draw(s.blur_px, rng),
        vignette=draw(s.vignette, rng),
        noise=draw(s.noise, rng),
        jpeg_quality=draw_int(s.jpeg_quality, rng),
        seed=int(rng.integers(2**31)),
    )


def _hsv(hue: float, saturation: float, value: float) -> Vector:
    return shifted((1.0, 0.0, 0.0), hue, saturation - 1.0, value - 1.0)
