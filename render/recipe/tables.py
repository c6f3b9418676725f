"""The recipe: what a dataset varies, and between which limits.

A recipe is a TOML file. Every Scalar is a number or a distribution, `size_m = 0.016` or
`size_m = { uniform = [0.012, 0.018] }`; see `render.recipe.distributions`. Lengths are metres, angles
degrees, colours sRGB as "#rrggbb", paths relative to the recipe's own folder. `render.recipe.load` reads and
checks
it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from render.recipe.distributions import Distribution, Limits, OneOf, Scalar, Word

SKIES = ("city", "courtyard", "forest", "interior", "night", "studio", "sunrise", "sunset")
Share = Annotated[Scalar, Limits(0.0, 1.0)]
Angle = Annotated[Scalar, Limits(-360, 360)]
Length = Annotated[Scalar, Limits(0.0, 1000.0)]
Weight = Annotated[float, msgspec.Meta(gt=0)]
Chance = Annotated[float, msgspec.Meta(ge=0, le=1)]
Hex = Annotated[str, msgspec.Meta(pattern="^#[0-9a-fA-F]{6}$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
Whole = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Side = Annotated[int, msgspec.Meta(ge=32, le=8192)]
Point = tuple[Scalar, Scalar, Scalar]
ANY_TURN = Distribution(uniform=(0.0, 360.0))


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the recipe."""


class Image(Table, frozen=True):
    """The picture file."""

    width: Side = 320
    height: Side = 320
    format: Literal["jpeg", "png"] = "jpeg"


class Quality(Table, frozen=True):
    """What a picture costs."""

    samples: Whole = 8
    denoise: Literal["off", "fast", "balanced", "high"] = "high"
    bounces: Annotated[int, msgspec.Meta(ge=0, le=64)] = 4


class Labels(Table, frozen=True):
    """What is labelled and what is left out.

    categories: names in the order of the COCO ids; empty: derived from parts and defects.
    parts, defects: whether these become annotations.
    verify: check visibility before the expensive render.
    min_parts: a view that shows fewer labels is not rendered.
    margin: each side of a box is moved outward by this share of the box, as people draw it; the box of the
        visible pixels is stored beside it.
    mirrored_classes: some classes are mirror images of each other, so that no training may mirror an image.
    """

    categories: tuple[Name, ...] = ()
    parts: bool = True
    defects: bool = True
    masks: Literal["none", "rle", "polygon"] = "none"
    min_visible_px: Annotated[int, msgspec.Meta(ge=1)] = 24
    min_visible_fraction: Chance = 0.3
    min_side_px: Annotated[int, msgspec.Meta(ge=1)] = 3
    verify: bool = True
    min_parts: Annotated[int, msgspec.Meta(ge=0)] = 0
    margin: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    mirrored_classes: bool = False


class Scheme(Table, frozen=True):
    """Colours that go together; what is given here replaces the material's own."""

    body: Hex
    accent: Hex | None = None
    second: Hex | None = None
    marble: Share = 0.0
    translucency: Share = 0.0
    weight: Weight = 1.0


class Material(Table, frozen=True):
    """Appearance of a surface. A part's material is chosen by `weight`.

    The kinds "image" and "pbr" take textures from `folder`: one image, or a set of images by role.

    colours: one is chosen.
    schemes: alternatives to `colours`, chosen by weight.
    accent: colour of inlays of the mesh (pips, paint in a groove).
    second, marble: two-coloured swirls.
    random: probability of a random colour.
    metallic: of a paint, its flakes.
    wear, rust: how much of it is visible.
    grain_m: size of the finest features.
    """

    kind: Literal[
        "plastic", "metal", "paint", "rubber", "cast", "ground", "rust", "glass", "image", "pbr", "random"
    ] = "plastic"
    colours: tuple[Hex, ...] = ()
    schemes: tuple[Scheme, ...] = ()
    accent: Hex | None = None
    second: Hex | None = None
    marble: Share = 0.0
    translucency: Share = 0.0
    colour_jitter: Share = 0.0
    random: Chance = 0.0
    roughness: Share | None = None
    metallic: Share = 0.0
    wear: Share = 0.0
    rust: Share = 0.0
    grain_m: Annotated[Scalar, Limits(0.00001, 1.0)] = 0.002
    bump: Share = 0.0
    folder: str = ""
    tile_m: Annotated[Scalar, Limits(0.0001, 100)] = 0.1
    weight: Weight = 1.0


class Component(Table, frozen=True):
    """A named piece of a part: its own materials, and its own label or none (`category = ""`)."""

    materials: tuple[Material, ...] = ()
    category: str | None = None


class Form(Table, frozen=True):
    """One mould of a built-in shape: values for its parameters, drawn anew for each of `variants`."""

    values: dict[str, Scalar] = {}
    variants: Whole = 1
    weight: Weight = 1.0


class Stamp(Table, frozen=True):
    """Embossed digits in a row on the part's stamped face; each is labelled with its own character.

    length: how many.  well, partly, poorly: shares of how legible they are; the state is kept per box.
    """

    characters: Annotated[str, msgspec.Meta(pattern="^[!-~]+$")] = "0123456789"
    length: Annotated[Scalar, Limits(1, 40)] = Distribution(uniform=(10.0, 12.0))
    height_m: Annotated[Scalar, Limits(0.0001, 10)] = 0.02
    relief_m: Annotated[Scalar, Limits(0.00001, 1)] = 0.0015
    spacing: Annotated[Scalar, Limits(0.5, 3)] = 1.0
    slant_deg: Angle = 0.0
    well: Chance = 0.6
    partly: Chance = 0.25
    poorly: Chance = 0.15


class Part(Table, frozen=True):
    """An object to detect: a built-in `shape`, or a `mesh` file in its own `units`.

    size_m: a shape's characteristic length (see docs), a mesh's longest side (None: as in the file).
    label: category of an instance: the part's `name`, its `state` (a die's upper face), each `component` by
        itself, or "none".
    pose: "rest" on a stable face, "upright" as modelled, "any" orientation, or a list of rotations about x,
        y, z.
    probability: probability that the part is in a scene.
    """

    name: Name
    shape: str = ""
    mesh: str = ""
    units: Literal["m", "cm", "mm", "in"] = "m"
    up: Literal["x", "y", "z", "-x", "-y", "-z"] = "z"
    size_m: Annotated[Scalar, Limits(0.0001, 100)] | None = None
    forms: tuple[Form, ...] = (Form(),)
    count: Annotated[Scalar, Limits(0, 200)] = 1.0
    probability: Chance = 1.0
    label: Literal["name", "state", "component", "none"] = "name"
    pose: Literal["rest", "upright", "any"] | tuple[tuple[float, float, float], ...] = "rest"
    yaw_deg: Angle = ANY_TURN
    tilt_deg: Angle = 0.0
    materials: tuple[Material, ...] = (Material(),)
    components: dict[str, Component] = {}
    stamp: Stamp | None = None


class Layout(Table, frozen=True):
    """Arrangement of the parts.

    mode: "lying" on the stage, "floating" before the camera, or "fixed" at the origin.
    spread: share of the view that parts are distributed over.
    gap_m: least distance between parts.
    depth_m: depth of the volume of floating parts along the view.
    views: images that each camera takes of a scene.
    tries: positions tried per part.
    """

    mode: Literal["lying", "floating", "fixed"] = "lying"
    spread: Annotated[Scalar, Limits(0.05, 2.0)] = 1.0
    gap_m: Length = 0.001
    depth_m: Length = 0.0
    views: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    tries: Whole = 80


class Intrinsics(Table, frozen=True):
    """A calibrated camera, in pixels of a `width` x `height` picture (OpenCV's convention)."""

    fx: Annotated[float, msgspec.Meta(gt=0)]
    fy: Annotated[float, msgspec.Meta(gt=0)]
    cx: float
    cy: float
    width: Whole
    height: Whole
    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    k3: float = 0.0


class Camera(Table, frozen=True):
    """One camera of the station. It looks at a point of the ground near the origin, or at `look_at_m`.

    `view_m` is the width of the picture there, from which the working distance follows; or give `distance_m`;
    or `position_m`. tilt 0 looks straight down.  jitter: a normal deviation of the default pose.
    f_number: focus blur; focus_m: 0 is on the target, else how far in front (+) or behind (-) of it.
    """

    name: Name = "camera"
    view_m: Annotated[Scalar, Limits(0.001, 200)] = 0.2
    distance_m: Annotated[Scalar, Limits(0.001, 1000)] | None = None
    position_m: Point | None = None
    look_at_m: Point = (0.0, 0.0, 0.0)
    focal_mm: Annotated[Scalar, Limits(2, 2000)] = 35.0
    sensor_mm: Annotated[float, msgspec.Meta(gt=0, le=200)] = 36.0
    intrinsics: Intrinsics | None = None
    tilt_deg: Annotated[Scalar, Limits(0, 180)] = 0.0
    azimuth_deg: Angle = -90.0
    roll_deg: Angle = 0.0
    offset: Annotated[Scalar, Limits(-0.5, 0.5)] = 0.0
    jitter_m: Length = 0.0
    jitter_deg: Annotated[Scalar, Limits(0, 90)] = 0.0
    f_number: Annotated[Scalar, Limits(0.1, 128)] | None = None
    focus_m: Annotated[Scalar, Limits(-100, 100)] = 0.0


class Lamps(Table, frozen=True):
    """Lamps of one kind, `height_m` above the target, anywhere within `reach` heights of it.

    power_w: watts, a sun's W/m².  size_m: side or radius.  ies: a photometric file for points and spots.
    """

    kind: Literal["area", "point", "spot", "sun"] = "area"
    count: Annotated[Scalar, Limits(0, 20)] = 1.0
    power_w: Annotated[Scalar, Limits(0, 100000)] = 5.0
    kelvin: Annotated[Scalar, Limits(1000, 15000)] = 6000.0
    height_m: Annotated[Scalar, Limits(0.001, 1000)] = 0.6
    reach: Annotated[Scalar, Limits(0, 20)] = 1.0
    size_m: Length = 0.4
    angle_deg: Annotated[Scalar, Limits(0.01, 179)] = 45.0
    ies: str = ""


class Light(Table, frozen=True):
    """The surroundings, and lamps. sky: ships with Blender; sky_folder: panoramas of your own instead.

    rotation_deg: about the vertical; tumble: chance that it is turned about all three axes.
    """

    sky: Annotated[Word, OneOf(SKIES)] = "studio"
    sky_folder: str = ""
    strength: Annotated[Scalar, Limits(0, 1000)] = 1.0
    rotation_deg: Angle = ANY_TURN
    tumble: Chance = 0.0
    lamps: tuple[Lamps, ...] = (Lamps(),)


class Stage(Table, frozen=True):
    """What the parts lie on. grain: how strongly its pattern shows.

    kind "none": nothing (floating parts); "catcher": an invisible ground that takes shadows, for photographs
    behind.  folder: pictures for the ground, used with chance `textured`.
    """

    kind: Annotated[Word, OneOf(("table", "tray", "none", "catcher"))] = "table"
    pattern: Annotated[Word, OneOf(("plain", "speckle", "wood", "brushed", "concrete"))] = "plain"
    folder: str = ""
    textured: Chance = 1.0
    hue: Share = 0.1
    saturation: Share = 0.03
    value: Share = 0.8
    roughness: Share = 0.6
    metallic: Share = 0.0
    grain: Share = 0.2
    grain_m: Annotated[Scalar, Limits(0.0001, 10)] = 0.01
    tray_m: Annotated[Scalar, Limits(0.01, 100)] = 0.2
    tray_aspect: Annotated[Scalar, Limits(0.3, 1)] = 0.8
    tray_yaw_deg: Angle = 0.0
    wall_height_m: Annotated[Scalar, Limits(0.0005, 10)] = 0.025
    wall_m: Annotated[Scalar, Limits(0.0005, 1)] = 0.005
    rim_value: Share = 0.05


class Background(Table, frozen=True):
    """What stands behind everything. folder: photographs; an empty folder, or none: procedural patterns."""

    kind: Annotated[Word, OneOf(("sky", "photo", "procedural"))] = "sky"
    folder: str = ""
    gain: Annotated[Scalar, Limits(0.01, 10)] = 1.0


class Distractors(Table, frozen=True):
    """Unlabelled things lying about: primitives, or meshes from a folder, in random looks."""

    count: Annotated[Scalar, Limits(0, 100)] = 0.0
    size_m: Annotated[Scalar, Limits(0.0001, 100)] = 0.01
    folder: str = ""
    materials: tuple[Material, ...] = (Material(kind="random"),)


class Defect(Table, frozen=True):
    """One class of flaw: a preset of `render.recipe.presets`, whose values the keys given here replace.

    name: category (default: the kind).
    on: parts or "part/component" that may have it (default: all).
    size_m: length of the whole.
    aspect: width over length.
    depth_m: into the material; negative: outward.
    cover: opacity of the foreign material.
    hole: whether material is removed.
    weight: share among the defects, or among the look-alikes.
    label: false for a harmless look-alike, such as grease: rendered like a defect, and no annotation.
    """

    kind: str
    name: str = ""
    on: tuple[str, ...] = ()
    size_m: Annotated[Scalar, Limits(0.00001, 100)] | None = None
    aspect: Annotated[Scalar, Limits(0.001, 1)] | None = None
    depth_m: Annotated[Scalar, Limits(-10, 10)] | None = None
    rim_m: Annotated[Scalar, Limits(-10, 10)] | None = None
    roughness: Annotated[Scalar, Limits(-1, 1)] | None = None
    cover: Share | None = None
    material: Material | None = None
    hole: bool | None = None
    softness: Annotated[Scalar, Limits(0, 4)] | None = None
    values: dict[str, Scalar] = {}
    weight: Weight = 1.0
    label: bool = True


class Defects(Table, frozen=True):
    """Flaws on the parts. clean: share of scenes without any; per_scene: how many in the others.

    harmless: how many look-alikes (`label = false`) in every scene, clean or not.
    Classes are dealt out by `weight` before rendering, so that the counts come out as asked.
    """

    clean: Chance = 0.0
    per_scene: Annotated[Scalar, Limits(0, 40)] = 1.0
    harmless: Annotated[Scalar, Limits(0, 40)] = 1.0
    kinds: tuple[Defect, ...] = ()
    mixed: bool = True


class Sensor(Table, frozen=True):
    """What the camera does to the light; applied after labelling."""

    exposure: Annotated[Scalar, Limits(0.02, 1)] = 0.75
    white_balance: Share = 0.9
    warmth: Annotated[Scalar, Limits(-0.5, 0.5)] = 0.0
    saturation: Annotated[Scalar, Limits(0, 3)] = 1.0
    blur_px: Annotated[Scalar, Limits(0, 50)] = 0.4
    motion_px: Annotated[Scalar, Limits(0, 200)] = 0.0
    vignette: Share = 0.1
    noise: Annotated[Scalar, Limits(0, 0.5)] = 0.01
    gamma: Annotated[Scalar, Limits(0.2, 5)] = 1.0
    grey: bool = False
    sharpen: Annotated[Scalar, Limits(0, 5)] = 0.0
    jpeg_quality: Annotated[Scalar, Limits(5, 100)] = 92.0


class Recipe(Table, frozen=True):
    """A whole recipe; a table left out takes its defaults."""

    name: Name
    parts: Annotated[tuple[Part, ...], msgspec.Meta(min_length=1)]
    image: Image = Image()
    quality: Quality = Quality()
    labels: Labels = Labels()
    layout: Layout = Layout()
    cameras: Annotated[tuple[Camera, ...], msgspec.Meta(min_length=1)] = (Camera(),)
    light: Light = Light()
    stage: Stage = Stage()
    background: Background = Background()
    distractors: Distractors = Distractors()
    defects: Defects = Defects()
    sensor: Sensor = Sensor()
