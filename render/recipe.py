"""The recipe: what a dataset of rendered dice varies, and between which limits.

A recipe is a TOML file. Every Scalar is a number or a distribution, `edge_m = 0.016` or
`edge_m = { uniform = [0.012, 0.018] }`; see `render.distributions`. Lengths are metres, angles degrees,
colours sRGB as "#rrggbb".
"""

from __future__ import annotations

import hashlib
import re
import tomllib
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import msgspec

from render.distributions import Distribution, Limits, OneOf, Scalar, Word
from render.errors import RecipeError

CLASSES = ("one", "two", "three", "four", "five", "six")
HDRIS = ("city", "courtyard", "forest", "interior", "night", "studio", "sunrise", "sunset")
Share = Annotated[Scalar, Limits(0.0, 1.0)]
Hex = Annotated[str, msgspec.Meta(pattern="^#[0-9a-fA-F]{6}$")]
Whole = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the recipe."""


class Image(Part, frozen=True):
    """The picture file."""

    width: Annotated[int, msgspec.Meta(ge=32, le=4096)] = 320
    height: Annotated[int, msgspec.Meta(ge=32, le=4096)] = 320
    format: Literal["jpeg", "png"] = "jpeg"


class Quality(Part, frozen=True):
    """What a picture costs."""

    samples: Whole = 8
    denoise: Literal["off", "fast", "balanced", "high"] = "high"
    bounces: Annotated[int, msgspec.Meta(ge=0, le=64)] = 4


class Labels(Part, frozen=True):
    """Which dice get a box: by visible pixels, and by their share of the whole outline."""

    min_visible_px: Annotated[int, msgspec.Meta(ge=1)] = 24
    min_visible_fraction: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.3


class Shape(Part, frozen=True):
    """One mould of die, in shares of its edge; built once per worker."""

    roundness: Annotated[float, msgspec.Meta(ge=0.01, le=0.4)] = 0.1
    ball: Annotated[float, msgspec.Meta(ge=1.2, le=1.8)] = 1.8
    pip_radius: Annotated[float, msgspec.Meta(ge=0.03, le=0.14)] = 0.1
    pip_depth: Annotated[float, msgspec.Meta(ge=0, le=0.1)] = 0.04
    weight: Annotated[float, msgspec.Meta(gt=0)] = 1.0


class Finish(Part, frozen=True):
    """One colouring of a die; `second` and `marble` make two-coloured swirls."""

    body: Hex
    pip: Hex
    second: Hex | None = None
    marble: Share = 0.0
    translucency: Share = 0.0
    weight: Annotated[float, msgspec.Meta(gt=0)] = 1.0


class Dice(Part, frozen=True):
    """How many dice, how large, where, and how they look."""

    count: Annotated[Scalar, Limits(0, 60)] = 6.0
    edge_m: Annotated[Scalar, Limits(0.002, 0.5)] = 0.016
    spread: Annotated[Scalar, Limits(0.05, 1.0)] = 1.0
    gap_m: Annotated[Scalar, Limits(0.0, 1.0)] = 0.001
    yaw_deg: Annotated[Scalar, Limits(-360, 360)] = Distribution(uniform=(0.0, 360.0))
    roughness: Share = 0.25
    colour_jitter: Share = 0.05
    random_finish: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    shapes: Annotated[tuple[Shape, ...], msgspec.Meta(min_length=1)] = (Shape(),)
    finishes: Annotated[tuple[Finish, ...], msgspec.Meta(min_length=1)] = (Finish("#c01818", "#f4f4f0"),)


class Camera(Part, frozen=True):
    """Where it hangs: `view_m` is the width of the picture on the table, tilt 0 looks straight down."""

    view_m: Annotated[Scalar, Limits(0.01, 20)] = 0.2
    focal_mm: Annotated[Scalar, Limits(8, 500)] = 35.0
    tilt_deg: Annotated[Scalar, Limits(0, 75)] = 0.0
    azimuth_deg: Annotated[Scalar, Limits(-360, 360)] = -90.0
    roll_deg: Annotated[Scalar, Limits(-360, 360)] = 0.0
    offset: Annotated[Scalar, Limits(-0.5, 0.5)] = 0.0


class Light(Part, frozen=True):
    """The surroundings (an HDRI that ships with Blender) and soft lamps."""

    hdri: Annotated[Word, OneOf(HDRIS)] = "studio"
    strength: Annotated[Scalar, Limits(0, 100)] = 1.0
    rotation_deg: Annotated[Scalar, Limits(-360, 360)] = Distribution(uniform=(0.0, 360.0))
    lamps: Annotated[Scalar, Limits(0, 6)] = 1.0
    lamp_power_w: Annotated[Scalar, Limits(0, 10000)] = 5.0
    lamp_height_m: Annotated[Scalar, Limits(0.05, 20)] = 0.6
    lamp_size_m: Annotated[Scalar, Limits(0.005, 10)] = 0.4
    lamp_kelvin: Annotated[Scalar, Limits(1500, 15000)] = 6000.0


class Surface(Part, frozen=True):
    """What the dice lie on; `grain` is how strongly its pattern shows."""

    kind: Annotated[Word, OneOf(("table", "tray"))] = "table"
    pattern: Annotated[Word, OneOf(("plain", "speckle", "wood"))] = "plain"
    hue: Share = 0.1
    saturation: Share = 0.03
    value: Share = 0.8
    roughness: Share = 0.6
    grain: Share = 0.2
    grain_size_m: Annotated[Scalar, Limits(0.0001, 1)] = 0.01
    tray_m: Annotated[Scalar, Limits(0.05, 10)] = 0.2
    tray_aspect: Annotated[Scalar, Limits(0.3, 1)] = 0.8
    tray_yaw_deg: Annotated[Scalar, Limits(-360, 360)] = 0.0
    wall_height_m: Annotated[Scalar, Limits(0.001, 1)] = 0.025
    wall_m: Annotated[Scalar, Limits(0.001, 0.2)] = 0.005
    rim_value: Share = 0.05


class Distractors(Part, frozen=True):
    """Unlabelled things lying about."""

    count: Annotated[Scalar, Limits(0, 20)] = 0.0
    size_m: Annotated[Scalar, Limits(0.001, 0.5)] = 0.01


class Sensor(Part, frozen=True):
    """What the camera does to the light; applied after labelling."""

    exposure: Annotated[Scalar, Limits(0.02, 1)] = 0.75
    white_balance: Share = 0.9
    warmth: Annotated[Scalar, Limits(-0.5, 0.5)] = 0.0
    saturation: Annotated[Scalar, Limits(0, 3)] = 1.0
    blur_px: Annotated[Scalar, Limits(0, 20)] = 0.4
    vignette: Share = 0.1
    noise: Annotated[Scalar, Limits(0, 0.5)] = 0.01
    jpeg_quality: Annotated[Scalar, Limits(5, 100)] = 92.0


class Recipe(Part, frozen=True):
    """A whole recipe; a table left out takes its defaults."""

    name: str
    image: Image = Image()
    quality: Quality = Quality()
    labels: Labels = Labels()
    dice: Dice = Dice()
    camera: Camera = Camera()
    light: Light = Light()
    surface: Surface = Surface()
    distractors: Distractors = Distractors()
    sensor: Sensor = Sensor()


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe file; raises RecipeError with file, key path, value and what is allowed."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe; expected a TOML file, see configs/render/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}; expected a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not valid TOML: {error}; correct the file and run again") from error
    try:
        return parse_recipe(table)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}; correct the recipe and run again") from None


def parse_recipe(table: dict[str, Any]) -> Recipe:
    """Build a Recipe from plain tables; raises RecipeError with key path, value and what is allowed."""
    try:
        recipe = msgspec.convert(table, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(_explain(str(error), table)) from None
    _check_limits(recipe, "")
    return recipe


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of the recipe with its defaults filled in."""
    return hashlib.sha256(msgspec.json.encode(recipe)).hexdigest()


def _check_limits(part: msgspec.Struct, prefix: str) -> None:
    hints = typing.get_type_hints(type(part), include_extras=True)
    for name in part.__struct_fields__:
        value, path = getattr(part, name), f"{prefix}{name}"
        for rule in getattr(hints[name], "__metadata__", ()):
            _check_value(value, rule, path)
        if isinstance(value, tuple):
            for number, item in enumerate(value):
                _check_limits(item, f"{path}[{number}].")
        elif isinstance(value, Part):
            _check_limits(value, f"{path}.")


def _check_value(value: Any, rule: object, path: str) -> None:
    extremes = value.extremes() if isinstance(value, Distribution) else (value,)
    for extreme in extremes:
        if isinstance(rule, OneOf) and extreme not in rule.words:
            raise RecipeError(f"{path} = {extreme!r}: expected one of {', '.join(rule.words)}")
        if isinstance(rule, Limits):
            if not isinstance(extreme, int | float):
                raise RecipeError(f"{path} = {extreme!r}: expected a number")
            if not rule.low <= extreme <= rule.high:
                raise RecipeError(f"{path} reaches {extreme:g}: expected {rule.low:g} to {rule.high:g}")


def _explain(message: str, table: dict[str, Any]) -> str:
    """msgspec's message, with the key path in front, the value found there, and the keys allowed."""
    text, _, where = message.partition(" - at `$")
    path = where.rstrip("`").lstrip(".")
    unknown = re.match(r"Object contains unknown field `(.*)`", text)
    if unknown:
        full = f"{path}.{unknown[1]}" if path else unknown[1]
        found = _lookup(table, full)
        return f"{full} = {found!r}: unknown key; expected one of {', '.join(_keys_at(path))}"
    if not path:
        return text
    return f"{path} = {_lookup(table, path)!r}: {text}"


def _steps(path: str) -> list[str | int]:
    return [int(i) if i else k for k, i in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path) for k, i in [(k, i)]]


def _lookup(table: Any, path: str) -> Any:
    for step in _steps(path):
        try:
            table = table[step]
        except (KeyError, IndexError, TypeError):
            return None
    return table


def _keys_at(path: str) -> tuple[str, ...]:
    """Field names of the struct a key path leads to."""
    kind: Any = Recipe
    for step in _steps(path):
        if isinstance(step, str):
            kind = typing.get_type_hints(kind, include_extras=False)[step]
        kind = _struct_in(kind)
    return tuple(kind.__struct_fields__)


def _struct_in(kind: Any) -> Any:
    """The struct inside `X | None`, `tuple[X, ...]` or X itself."""
    if typing.get_origin(kind) in (Union, types.UnionType, tuple):
        inner = [a for a in typing.get_args(kind) if isinstance(_struct_in(a), type(msgspec.Struct))]
        return _struct_in(inner[0]) if inner else kind
    return kind
