"""A scene with every choice made: what `plan` writes and the worker renders. Metres, radians, linear RGB."""

from __future__ import annotations

from typing import Literal

import msgspec

Vector = tuple[float, float, float]


class DieSpec(msgspec.Struct, frozen=True):
    """One die. shape: (roundness, ball, pip_radius, pip_depth) in edges; rotation: 3x3, row by row."""

    shape: tuple[float, float, float, float]
    edge_m: float
    location: Vector
    rotation: tuple[float, float, float, float, float, float, float, float, float]
    body: Vector
    second: Vector
    pip: Vector
    marble: float
    marble_seed: float
    translucency: float
    roughness: float


class ThingSpec(msgspec.Struct, frozen=True):
    """One distractor. size_m: extents before rotation about the vertical."""

    kind: Literal["box", "cylinder", "sphere", "cone"]
    location: Vector
    size_m: Vector
    yaw_rad: float
    colour: Vector
    roughness: float


class CameraSpec(msgspec.Struct, frozen=True):
    """A pinhole that looks at `target` on the table from `distance_m`; see `render.projection`."""

    target: Vector
    distance_m: float
    tilt_rad: float
    azimuth_rad: float
    roll_rad: float
    focal_mm: float


class LampSpec(msgspec.Struct, frozen=True):
    """A square area light that points at the origin."""

    location: Vector
    size_m: float
    power_w: float
    colour: Vector


class LightSpec(msgspec.Struct, frozen=True):
    """Surroundings and lamps."""

    hdri: str
    strength: float
    rotation_rad: float
    lamps: tuple[LampSpec, ...]


class TraySpec(msgspec.Struct, frozen=True):
    """An open box around the origin; inner: extents of its floor."""

    inner_m: tuple[float, float]
    wall_height_m: float
    wall_m: float
    yaw_rad: float
    rim: Vector


class SurfaceSpec(msgspec.Struct, frozen=True):
    """The table, and the tray on it if there is one."""

    pattern: str
    colour: Vector
    dark: Vector
    roughness: float
    grain: float
    grain_size_m: float
    pattern_seed: float
    tray: TraySpec | None


class SensorSpec(msgspec.Struct, frozen=True):
    """What `render.sensor.expose` does; noise is drawn from `seed`."""

    exposure: float
    white_balance: float
    warmth: float
    saturation: float
    blur_px: float
    vignette: float
    noise: float
    jpeg_quality: int
    seed: int


class SceneSpec(msgspec.Struct, frozen=True):
    """Everything about one image. `unplaced` dice found no free place."""

    seed: int
    index: int
    width: int
    height: int
    format: Literal["jpeg", "png"]
    samples: int
    denoise: Literal["off", "fast", "balanced", "high"]
    bounces: int
    cycles_seed: int
    min_visible_px: int
    min_visible_fraction: float
    dice: tuple[DieSpec, ...]
    unplaced: int
    things: tuple[ThingSpec, ...]
    camera: CameraSpec
    light: LightSpec
    surface: SurfaceSpec
    sensor: SensorSpec
