"""Placement of flaws: on a part that a camera sees, inside its image, without overlap if possible.

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

#: Outlines whose relief is coarse enough to move vertices; the others only bend the normal.
_MASSIVE = ("blot", "ring")
#: Relief below this many pixels is not seen in outline or parallax, so bending the normal is enough.
_SEEN_PX = 1.5
#: What makes a preset's features coarser, and the width in pixels they need to be seen; how much coarser at
#: most.
_SEEN = {"pits": ("cell", 1.8), "network": ("cell", 0.7), "crack": ("thickness", 1.2), "streak": ("", 1.8)}
_COARSER = 4.0
#: Least ratio of luminance between a part and a flaw on it, where a preset leaves the choice.
_TOLD = 1.6
_GREY = (0.4, 0.4, 0.4)  # of parts whose colour is a picture's
#: Edges across a displaced slope, and along a flaw at most.
_EDGES, _FINEST = 8, 120


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
    surface_of: gives the surface of a mesh.
    assets: textures of the flaws' materials.

    A flaw without a visible position after `layout.tries` attempts is left out. Meshes get the `detail_m`
    that their flaws need, and where; 0 without flaws.
    """
    size = recipe.image.width, recipe.image.height
    surfaces_on: dict[tuple[str, ...], VisibleSurfaces] = {}
    laid: list[_Laid] = []
    for kind in kinds:
        defect = recipe.defects.kinds[kind]
        if defect.on not in surfaces_on:
            surfaces_on[defect.on] = VisibleSurfaces(_targets(defect, objects), cameras, size, surface_of)
        flaw = _lay(recipe, defect, surfaces_on[defect.on], laid, assets, rng)
        if flaw is not None:
            laid.append(flaw)
    return tuple(_flawed(thing, [flaw for flaw in laid if flaw.thing is thing]) for thing in objects)


@dataclass(frozen=True, eq=False)
class _Laid:
    """A flaw on its object. at: in the world.  reach_m: half its length there."""

    thing: ObjectSpec
    spec: DefectSpec
    at: FloatArray
    reach_m: float

    @property
    def edge(self) -> float:
        """Longest edge, in own units, that shows its relief: _EDGES across the slope from border to floor."""
        length, width = self.spec.size_m
        slope = feature_width(self.spec.outline, self.spec.size_m, self.spec.numbers) / 2
        slope *= min(self.spec.numbers["bowl"], self.spec.numbers["rim_width"] if self.spec.rim_m else 1.0)
        return max(slope / _EDGES, length / _FINEST, width / _FINEST)

    @property
    def ball(self) -> tuple[float, float, float, float]:
        """Centre and radius, in own units, of where the surface moves."""
        x, y, z = matrix(self.spec.frame)[1].tolist()
        return (x, y, z, self.spec.size_m[0] * (0.5 + 0.25 * self.spec.numbers["rim_width"]))


def _targets(defect: Defect, objects: tuple[ObjectSpec, ...]) -> list[ObjectSpec]:
    """The objects a defect may lie on; a part's digits carry none."""
    parts = [thing for thing in objects if thing.role == "part" and thing.mesh.shape != "glyph"]
    if not defect.on:
        return parts
    return [thing for thing in parts if thing.name in defect.on or thing.name.split("/")[0] in defect.on]


def _lay(
    recipe: Recipe,
    defect: Defect,
    surfaces: VisibleSurfaces,
    laid: list[_Laid],
    assets: Assets,
    rng: Generator,
) -> _Laid | None:
    form = _Form(defect, rng)
    for _ in range(recipe.layout.tries):
        spots = surfaces.sample(rng)
        if len(spots.at):
            break
    else:
        return None
    lengths = np.array([form.length_m(thing, span) for thing, span in surfaces.spans])[spots.which]
    best = _roomiest(spots, lengths, surfaces.short_px, laid)
    thing, _ = surfaces.spans[spots.which[best]]
    scale = scale_of(thing.pose)
    length = float(lengths[best]) / scale
    point, outward = surfaces.to_own_frame(
        int(spots.which[best]), spots.at[best], spots.outward[best], length / 2
    )
    frame = pose(_axes(outward, math.radians(form.turn_deg)), point)
    spec = form.spec(len(laid) + 1, frame, length, scale, float(spots.pixel_m[best]) / scale)
    spec = msgspec.structs.replace(
        spec,
        category=(defect.name or defect.kind) if recipe.labels.defects else "",
        material=_material(form, spec, thing, assets, rng),
    )
    return _Laid(thing, spec, spots.at[best], float(lengths[best]) / 2)


def _roomiest(spots: VisiblePoints, lengths: FloatArray, short_px: int, laid: list[_Laid]) -> int:
    """Return the first point where a flaw keeps clear of the others and of the image border, else the best.

    Without such a point flaws overlap or leave the image; otherwise their counts would differ from the
    schedule.
    """
    halves = lengths / 2
    room = spots.margin_px / np.maximum(1.0, np.minimum(halves / spots.pixel_m, short_px / 4))
    for other in laid:
        distance = np.linalg.norm(spots.at - other.at, axis=1)
        room = np.minimum(room, distance / (other.reach_m + halves))
    return int(np.argmax(np.minimum(room, 1.0)))


class _Form:
    """A defect with its distributions drawn, before it is known on what it lies."""

    def __init__(self, defect: Defect, rng: Generator) -> None:
        self.defect, self.preset = defect, PRESETS[defect.kind]
        self.numbers = {name: draw(value, rng) for name, value in sorted(numbers_of(defect).items())}
        self.turn_deg = self.numbers.pop("turn_deg")

        def drawn(given: Scalar | None, usual: Scalar) -> float:
            return draw(usual if given is None else given, rng)

        self.share = drawn(defect.size_m, self.preset.size)
        self.aspect = drawn(defect.aspect, self.preset.aspect)
        self.depth = drawn(defect.depth_m, self.preset.depth)
        self.rim = drawn(defect.rim_m, self.preset.rim)
        self.roughness = drawn(defect.roughness, self.preset.roughness)
        self.cover = drawn(defect.cover, self.preset.cover)
        self.softness = drawn(defect.softness, self.preset.softness)
        self.seed = float(rng.uniform(-100, 100))

    def length_m(self, thing: ObjectSpec, span: float) -> float:
        """Length in the world; span: the object's second longest side in its own units."""
        return self.share if self.defect.size_m is not None else self.share * span * scale_of(thing.pose)

    def spec(self, number: int, frame: Pose, length: float, scale: float, pixel: float) -> DefectSpec:
        """The flaw, without category and material; length and pixel: in the object's own units."""
        outline, size = self.preset.outline, (length, length * self.aspect)
        known = parameters(outline)
        numbers = {name: self.numbers.get(name, known[name].default) for name in known if name != "turn_deg"}
        size = self._coarsened(size, numbers, pixel)
        feature = feature_width(outline, size, numbers)
        depth = self.depth * feature if self.defect.depth_m is None else self.depth / scale
        rim = self.rim * feature if self.defect.rim_m is None else self.rim / scale
        # Whether the surface itself is to be moved depends on what the nearest camera makes of it.
        moved = outline in _MASSIVE and max(abs(depth), abs(rim)) > _SEEN_PX * pixel
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
            numbers={**numbers, "pixel": pixel, "displace": float(moved)},
            seed=self.seed,
        )

    def _coarsened(
        self, size: tuple[float, float], numbers: dict[str, float], pixel: float
    ) -> tuple[float, float]:
        """The size; a preset's features that the camera could not see are made coarser, up to _COARSER times.

        What the recipe gives itself stays as it is.
        """
        outline, given = self.preset.outline, self.defect
        if outline not in _SEEN:
            return size
        name, seen_px = _SEEN[outline]
        factor = seen_px * pixel / feature_width(outline, size, numbers)
        factor = min(max(1.0, factor), _COARSER)
        if name and name not in given.values:
            numbers[name] = min(numbers[name] * factor, OUTLINES[outline][name].high)
        if outline == "streak" and given.aspect is None:
            return size[0], min(size[0], size[1] * factor)
        return size


def _material(
    form: _Form, spec: DefectSpec, thing: ObjectSpec, assets: Assets, rng: Generator
) -> MaterialSpec | None:
    given = form.defect.material
    material = given or form.preset.material
    if material is None or form.cover == 0:
        return None
    if given is not None:
        return draw_material((given,), assets, rng)
    # A preset knows nothing of the part. Its colours that contrast with the part's are used, and its grain is
    # scaled to the flaw, which may be on a bolt or on a car.
    body = thing.material.colours.get("body", _GREY)
    contrasting = tuple(c for c in material.colours if _contrast(linear(from_hex(c)), body) > _TOLD)
    material = msgspec.structs.replace(material, colours=contrasting or material.colours)
    material_spec = draw_material((material,), assets, rng)
    feature = feature_width(spec.outline, spec.size_m, spec.numbers)
    grain = max(1e-5, 0.05 * feature * scale_of(thing.pose))
    return msgspec.structs.replace(material_spec, numbers={**material_spec.numbers, "grain_m": grain})


def _contrast(first: Vector, second: Vector) -> float:
    """Ratio of the greater to the lesser luminance of two colours, linear RGB (Rec. 709)."""
    low, high = sorted(
        0.02 + sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), colour, strict=True))
        for colour in (first, second)
    )
    return high / low


def _axes(outward: FloatArray, turn_rad: float) -> FloatArray:
    """(3, 3), columns along, across, outward; along is the own x axis laid on the surface, then turned."""
    along = np.eye(3)[0] - outward[0] * outward
    if np.linalg.norm(along) < 0.1:
        along = np.eye(3)[1] - outward[1] * outward
    along = about(outward, turn_rad) @ (along / np.linalg.norm(along))
    return np.stack([along, np.cross(outward, along), outward], axis=1)


def _flawed(thing: ObjectSpec, laid: list[_Laid]) -> ObjectSpec:
    """The object with its flaws, and a mesh fine enough where they move it."""
    if not laid and thing.mesh.detail_m == 0:
        return thing
    moved = [flaw for flaw in laid if flaw.spec.numbers["displace"]]
    mesh = msgspec.structs.replace(
        thing.mesh,
        detail_m=min((flaw.edge for flaw in moved), default=0.0),
        detail_at=tuple(flaw.ball for flaw in moved),
    )
    return msgspec.structs.replace(thing, mesh=mesh, defects=tuple(flaw.spec for flaw in laid))
