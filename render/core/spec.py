"""A scene with every choice made: what `plan` writes and the worker renders.

Metres, radians, linear RGB in [0, 1], kelvin only in recipes. A Pose is the upper three rows of a 4x4 matrix,
row by row: it takes points of the thing's own frame to the world.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Vector = tuple[float, float, float]
Pose = tuple[
    float, float, float, float, float, float, float, float, float, float, float, float
]  # fmt: skip


class MeshSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a surface comes from: a built-in shape with its form, or a mesh file.

    shape: key of `render.shapes.SHAPES`; form: its parameters, resolved; text: what a glyph says.
    file: SHA-256 of the imported mesh in the asset cache.  component: which piece of it.
    detail_m: longest edge wanted where a defect is to displace the surface; 0: as it comes.
    detail_at: balls (x, y, z, radius) in own units outside which longer edges do; empty: everywhere.
    """

    shape: str = ""
    form: dict[str, float] = {}
    text: str = ""
    file: str = ""
    component: str = ""
    detail_m: float = 0.0
    detail_at: tuple[tuple[float, float, float, float], ...] = ()


class MaterialSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """Appearance of a surface.

    kind: key of `render.worker.appearance.MATERIAL_FAMILIES`.  seed: position in its noise.

    colours: "body" and what else the family asks for; numbers: its scalars; images: role ("colour",
    "roughness", "normal", "metallic", "height") -> absolute path; tile_m: side of one tile of the images.
    """

    kind: str
    colours: dict[str, Vector] = {}
    numbers: dict[str, float] = {}
    images: dict[str, str] = {}
    tile_m: float = 0.1
    seed: float = 0.0


class DefectSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One flaw of one object: a mask on its surface, and the changes under the mask.

    number: AOV of the mask, from 1.
    category: category of the label.
    outline: key of `render.worker.defects.defects.OUTLINES`.
    frame: from the flaw's frame (x along, y across, z outward) to the object's; unit vectors.
    size_m: length and width of the whole flaw.
    depth_m: into the material; negative: outward; 0: flat.
    rim_m: height of the edge around it.
    roughness: added under the mask.
    material: encrustation of opacity `cover`; None for none.
    hole: whether material is removed.
    numbers: parameters of the outline (wander, density, thickness_m, ...).
    """

    number: int
    category: str
    outline: str
    frame: Pose
    size_m: tuple[float, float]
    depth_m: float = 0.0
    rim_m: float = 0.0
    roughness: float = 0.0
    material: MaterialSpec | None = None
    cover: float = 1.0
    hole: bool = False
    softness: float = 0.2
    numbers: dict[str, float] = {}
    seed: float = 0.0


class ObjectSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing in the scene. index: its value in the object-index pass, from 1, unique; 0: never labelled.

    role: "part" may be labelled, "distractor" and "stage" never are.  category: None: no label of its own.
    instance: which copy of the part, from 1; components of one copy share it.
    state: what else the annotation keeps, e.g. {"legibility": "partly"}.
    group: objects of the same group (> 0) are one thing and share one annotation; 0: a thing by itself.
    """

    name: str
    mesh: MeshSpec
    pose: Pose
    material: MaterialSpec
    role: Literal["part", "distractor", "stage"] = "part"
    index: int = 0
    instance: int = 0
    category: str | None = None
    state: dict[str, str] = {}
    defects: tuple[DefectSpec, ...] = ()
    shadow_catcher: bool = False
    group: int = 0


class LensSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """Brown-Conrady distortion and a principal point off the middle (OpenCV's convention, pixels)."""

    k: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)  # k1, k2, p1, p2, k3
    shift_px: tuple[float, float] = (0.0, 0.0)
    aspect: float = 1.0  # fy / fx


class CameraSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One camera.

    pose: columns right, up and backward; position last.
    focal_px: fx in pixels.
    f_number, focus_m: None for a pinhole; else objects off `focus_m` blur, for a sensor of `sensor_mm`.
    """

    name: str
    pose: Pose
    focal_px: float
    sensor_mm: float = 36.0
    f_number: float | None = None
    focus_m: float | None = None
    lens: LensSpec = LensSpec()


class LampSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A light. power_w: watts (sun: W/m²).  size_m: side of an area light, radius of a point or spot.

    aim: the point it looks at.  angle_rad: a spot's cone, a sun's disc.  ies: path of a photometric file.
    """

    kind: Literal["area", "point", "spot", "sun"]
    location: Vector
    power_w: float
    colour: Vector
    size_m: float = 0.1
    aim: Vector = (0.0, 0.0, 0.0)
    angle_rad: float = 0.8
    ies: str = ""


class LightSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """Surroundings and lamps. sky: a name that ships with Blender, or a path; rotation_rad: about x, y, z."""

    sky: str
    strength: float
    rotation_rad: Vector
    lamps: tuple[LampSpec, ...] = ()


class BackgroundSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands behind the scene. photo: path, cropped to (x, y, side share) of itself, turned by quarters.

    kind "sky": the surroundings themselves.  "procedural": a pattern of `colours` drawn from `seed`.
    """

    kind: Literal["sky", "photo", "procedural"] = "sky"
    photo: str = ""
    crop: Vector = (0.0, 0.0, 1.0)
    quarter_turns: int = 0
    flip: bool = False
    gain: float = 1.0
    colours: tuple[Vector, ...] = ()
    seed: int = 0


class SensorSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `render.postprocess.sensor.expose` does, after labelling; noise is drawn from `seed`."""

    exposure: float = 0.7
    white_balance: float = 1.0
    warmth: float = 0.0
    saturation: float = 1.0
    blur_px: float = 0.0
    motion_px: float = 0.0
    motion_rad: float = 0.0
    vignette: float = 0.0
    noise: float = 0.0
    gamma: float = 1.0
    grey: bool = False
    sharpen: float = 0.0
    jpeg_quality: int = 92
    seed: int = 0


class ViewSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image of the scene. index: its number in the dataset; cycles_seed: Blender's noise."""

    index: int
    camera: CameraSpec
    sensor: SensorSpec
    cycles_seed: int


class QualitySpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a picture costs."""

    samples: int
    denoise: Literal["off", "fast", "balanced", "high"]
    bounces: int


class LabelSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which labels a view keeps; see `render.recipe.tables.Labels`."""

    masks: Literal["none", "rle", "polygon"] = "none"
    min_visible_px: int = 1
    min_visible_fraction: float = 0.0
    min_side_px: int = 1
    verify: bool = True
    min_parts: int = 0


class SceneSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything about one scene and its views. unplaced: (part, reason) of parts without a free position."""

    seed: int
    index: int
    width: int
    height: int
    format: Literal["jpeg", "png"]
    quality: QualitySpec
    labels: LabelSpec
    objects: tuple[ObjectSpec, ...]
    views: tuple[ViewSpec, ...]
    light: LightSpec
    background: BackgroundSpec = BackgroundSpec()
    unplaced: tuple[tuple[str, str], ...] = ()
