"""Places flaws on parts: visible to a camera, inside its image, without overlap if possible.

Lengths and frames of a DefectSpec are in the object's own units: world metres divided by the pose's scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.random import Generator

from render.assets.load import Assets
from render.core.colour import from_hex, linear
from render.core.spec import CameraSpec, DefectSpec, MaterialSpec, MeshSpec, ObjectSpec, Pose, Vector
from render.geometry.transforms import about, matrix, pose, scale_of
from render.planner.materials import draw_material
from render.planner.visibility import VisiblePoints, VisibleSurfaces
from render.recipe.distributions import Scalar, draw
from render.recipe.outlines import OUTLINES, feature_width, parameters
from render.recipe.presets import PRESETS, numbers_of
from render.recipe.tables import Defect, Recipe
from render.shapes.kernels.surface import FloatArray, Surface

#: Outlines whose relief is coarse enough to displace vertices. The others change the normal only.
_DISPLACED_OUTLINES = ("blot", "ring")
#: Relief smaller than this shows neither in the silhouette nor as parallax, so changing the normal is enough.
_MIN_RELIEF_PX = 1.5
#: Outline -> (parameter that makes the features of a preset coarser, width in pixels from which they are
#: visible), and the greatest factor by which they are made coarser.
_MIN_WIDTH_PX = {
    "pits": ("cell", 1.8),
    "network": ("cell", 0.7),
    "crack": ("thickness", 1.2),
    "streak": ("", 1.8),
}
_MAX_COARSENING = 4.0
#: Least ratio of luminance between a part and a flaw on it, if the preset offers several colours.
_MIN_CONTRAST = 1.6
_GREY = (0.4, 0.4, 0.4)  # stands for the colour of a part with an image texture
#: Mesh edges across the slope of a displaced flaw, and the most edges along the flaw.
_EDGES_PER_SLOPE, _MAX_EDGES = 8, 120


def place(
    recipe: Recipe,
    kinds: Sequence[int],
    objects: tuple[ObjectSpec, ...],
    cameras: Sequence[CameraSpec],
    surface_of: Callable[[MeshSpec], Surface],
    rng: Generator,
    *,
    assets: Assets,
) -> tuple[ObjectSpec, ...]:
    """Return the objects with a flaw for each of `kinds`.

    kinds: indices into `recipe.defects.kinds`.
    surface_of: returns the surface of a mesh.
    assets: textures of the flaws' materials.

    A flaw without a visible position after `layout.tries` attempts is left out. Meshes get the resolution
    `detail_m` that their flaws need, and the regions `detail_at` that need it.
    """
    size = recipe.image.width, recipe.image.height
    surfaces_on: dict[tuple[str, ...], VisibleSurfaces] = {}
    placed: list[_PlacedFlaw] = []
    for kind in kinds:
        defect = recipe.defects.kinds[kind]
        if defect.on not in surfaces_on:
            surfaces_on[defect.on] = VisibleSurfaces(_targets(defect, objects), cameras, size, surface_of)
        flaw = _place_flaw(recipe, defect, surfaces_on[defect.on], placed, assets, rng)
        if flaw is not None:
            placed.append(flaw)
    return tuple(_with_flaws(obj, [flaw for flaw in placed if flaw.obj is obj]) for obj in objects)


@dataclass(frozen=True, eq=False)
class _PlacedFlaw:
    """A flaw on its object.

    at: position in the world.
    reach_m: half the length, in metres.
    """

    obj: ObjectSpec
    spec: DefectSpec
    at: FloatArray
    reach_m: float

    @property
    def max_edge(self) -> float:
        """Longest mesh edge, in own units, that still resolves the slope of the relief."""
        length, width = self.spec.size_m
        slope = feature_width(self.spec.outline, self.spec.size_m, self.spec.numbers) / 2
        slope *= min(self.spec.numbers["bowl"], self.spec.numbers["rim_width"] if self.spec.rim_m else 1.0)
        return max(slope / _EDGES_PER_SLOPE, length / _MAX_EDGES, width / _MAX_EDGES)

    @property
    def region(self) -> tuple[float, float, float, float]:
        """Centre and radius, in own units, of the displaced region."""
        x, y, z = matrix(self.spec.frame)[1].tolist()
        return (x, y, z, self.spec.size_m[0] * (0.5 + 0.25 * self.spec.numbers["rim_width"]))


def _targets(defect: Defect, objects: tuple[ObjectSpec, ...]) -> list[ObjectSpec]:
    """Return the objects that a defect may lie on; digits on a part carry no flaws."""
    parts = [obj for obj in objects if obj.role == "part" and obj.mesh.shape != "glyph"]
    if not defect.on:
        return parts
    return [obj for obj in parts if obj.name in defect.on or obj.name.split("/")[0] in defect.on]


def _place_flaw(
    recipe: Recipe,
    defect: Defect,
    surfaces: VisibleSurfaces,
    placed: list[_PlacedFlaw],
    assets: Assets,
    rng: Generator,
) -> _PlacedFlaw | None:
    drawn = _DrawnDefect(defect, rng)
    for _ in range(recipe.layout.tries):
        spots = surfaces.sample(rng)
        if len(spots.at):
            break
    else:
        return None
    lengths = np.array([drawn.length_m(obj, span) for obj, span in surfaces.spans])[spots.which]
    best = _point_with_most_room(spots, lengths, surfaces.short_px, placed)
    obj, _ = surfaces.spans[spots.which[best]]
    scale = scale_of(obj.pose)
    length = float(lengths[best]) / scale
    point, outward = surfaces.to_own_frame(
        int(spots.which[best]), spots.at[best], spots.outward[best], length / 2
    )
    frame = pose(_axes(outward, math.radians(drawn.turn_deg)), point)
    spec = drawn.spec(len(placed) + 1, frame, length, scale, float(spots.pixel_m[best]) / scale)
    spec = msgspec.structs.replace(
        spec,
        category=(defect.name or defect.kind) if recipe.labels.defects and defect.label else "",
        material=_material(drawn, spec, obj, assets, rng),
    )
    return _PlacedFlaw(obj, spec, spots.at[best], float(lengths[best]) / 2)


def _point_with_most_room(
    spots: VisiblePoints, lengths: FloatArray, short_px: int, placed: list[_PlacedFlaw]
) -> int:
    """Return the first point where a flaw overlaps neither other flaws nor the image border, else the best.

    If there is no such point, flaws overlap or leave the image: leaving them out would break the schedule.
    """
    halves = lengths / 2
    room = spots.margin_px / np.maximum(1.0, np.minimum(halves / spots.pixel_m, short_px / 4))
    for other in placed:
        distance = np.linalg.norm(spots.at - other.at, axis=1)
        room = np.minimum(room, distance / (other.reach_m + halves))
    return int(np.argmax(np.minimum(room, 1.0)))


class _DrawnDefect:
    """A defect with all values drawn, before its object is known."""

    def __init__(self, defect: Defect, rng: Generator) -> None:
        self.defect, self.preset = defect, PRESETS[defect.kind]
        self.numbers = {name: draw(value, rng) for name, value in sorted(numbers_of(defect).items())}
        self.turn_deg = self.numbers.pop("turn_deg")

        def draw_or_preset(given: Scalar | None, usual: Scalar) -> float:
            return draw(usual if given is None else given, rng)

        self.share = draw_or_preset(defect.size_m, self.preset.size)
        self.aspect = draw_or_preset(defect.aspect, self.preset.aspect)
        self.depth = draw_or_preset(defect.depth_m, self.preset.depth)
        self.rim = draw_or_preset(defect.rim_m, self.preset.rim)
        self.roughness = draw_or_preset(defect.roughness, self.preset.roughness)
        self.cover = draw_or_preset(defect.cover, self.preset.cover)
        self.softness = draw_or_preset(defect.softness, self.preset.softness)
        self.seed = float(rng.uniform(-100, 100))

    def length_m(self, obj: ObjectSpec, span: float) -> float:
        """Return the length in metres; span: the second longest side of the object, in own units."""
        return self.share if self.defect.size_m is not None else self.share * span * scale_of(obj.pose)

    def spec(self, number: int, frame: Pose, length: float, scale: float, pixel: float) -> DefectSpec:
        """Return the flaw without category and material; length and pixel are in the object's own units."""
        outline, size = self.preset.outline, (length, length * self.aspect)
        known = parameters(outline)
        numbers = {name: self.numbers.get(name, known[name].default) for name in known if name != "turn_deg"}
        size = self._coarsened(size, numbers, pixel)
        feature = feature_width(outline, size, numbers)
        depth = self.depth * feature if self.defect.depth_m is None else self.depth / scale
        rim = self.rim * feature if self.defect.rim_m is None else self.rim / scale
        # Displace the surface only if the nearest camera can see the relief.
        displaced = outline in _DISPLACED_OUTLINES and max(abs(depth), abs(rim)) > _MIN_RELIEF_PX * pixel
        hole = self.preset.hole if self.defect.hole is None else self.defect.hole
        return DefectSpec(
            number=number,
            category="",
            outline=outline,
            frame=frame,
            size_m=size,
            depth_m=depth,
            rim_m=rim,
            roughness=self.roughness,
            cover=self.cover,
            hole=hole,
            softness=self.softness,
            numbers={**numbers, "pixel": pixel, "displace": float(displaced)},
            seed=self.seed,
        )

    def _coarsened(
        self, size: tuple[float, float], numbers: dict[str, float], pixel: float
    ) -> tuple[float, float]:
        """Make features that the camera could not see coarser, by up to _MAX_COARSENING; return the size.

        Values that the recipe gives stay unchanged; only those of the preset change.
        """
        outline, given = self.preset.outline, self.defect
        if outline not in _MIN_WIDTH_PX:
            return size
        name, min_width_px = _MIN_WIDTH_PX[outline]
        factor = min_width_px * pixel / feature_width(outline, size, numbers)
        factor = min(max(1.0, factor), _MAX_COARSENING)
        if name and name not in given.values:
            numbers[name] = min(numbers[name] * factor, OUTLINES[outline][name].high)
        if outline == "streak" and given.aspect is None:
            return size[0], min(size[0], size[1] * factor)
        return size


def _material(
    drawn: _DrawnDefect, spec: DefectSpec, obj: ObjectSpec, assets: Assets, rng: Generator
) -> MaterialSpec | None:
    given = drawn.defect.material
    material = given or drawn.preset.material
    if material is None or drawn.cover == 0:
        return None
    if given is not None:
        return draw_material((given,), assets, rng)
    # A preset is independent of the part. Use its colours that contrast with the part, and scale its grain to
    # the flaw, which may be on a bolt or on a car.
    body = obj.material.colours.get("body", _GREY)
    contrasting = tuple(c for c in material.colours if _contrast(linear(from_hex(c)), body) > _MIN_CONTRAST)
    material = msgspec.structs.replace(material, colours=contrasting or material.colours)
    material_spec = draw_material((material,), assets, rng)
    feature = feature_width(spec.outline, spec.size_m, spec.numbers)
    grain = max(1e-5, 0.05 * feature * scale_of(obj.pose))
    return msgspec.structs.replace(material_spec, numbers={**material_spec.numbers, "grain_m": grain})


def _contrast(first: Vector, second: Vector) -> float:
    """Return the ratio of the greater to the lesser luminance of two colours, linear RGB (Rec. 709)."""
    low, high = sorted(
        0.02 + sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), colour, strict=True))
        for colour in (first, second)
    )
    return high / low


def _axes(outward: FloatArray, turn_rad: float) -> FloatArray:
    """Return (3, 3), columns along, across and outward.

    "Along" is the object's x axis projected onto the surface, then rotated.
    """
    along = np.eye(3)[0] - outward[0] * outward
    if np.linalg.norm(along) < 0.1:
        along = np.eye(3)[1] - outward[1] * outward
    along = about(outward, turn_rad) @ (along / np.linalg.norm(along))
    return np.stack([along, np.cross(outward, along), outward], axis=1)


def _with_flaws(obj: ObjectSpec, placed: list[_PlacedFlaw]) -> ObjectSpec:
    """Return the object with its flaws, and with a mesh that is fine enough where they displace it."""
    if not placed and obj.mesh.detail_m == 0:
        return obj
    displaced = [flaw for flaw in placed if flaw.spec.numbers["displace"]]
    mesh = msgspec.structs.replace(
        obj.mesh,
        detail_m=min((flaw.max_edge for flaw in displaced), default=0.0),
        detail_at=tuple(flaw.region for flaw in displaced),
    )
    return msgspec.structs.replace(obj, mesh=mesh, defects=tuple(flaw.spec for flaw in placed))
