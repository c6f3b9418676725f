"""Draws the parts of a scene: number, form, pose, material and position."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.random import Generator, SeedSequence
from shapely import Geometry

from render.assets.bodies import Body, body_of
from render.assets.load import Assets
from render.core.spec import CameraSpec, MaterialSpec, MeshSpec, ObjectSpec, Pose
from render.geometry.placement import AirArea, GroundArea, PlacementArea, window
from render.geometry.transforms import about, euler, pose, random_rotation
from render.planner.materials import draw_material
from render.planner.stamps import stamp
from render.recipe.distributions import draw, draw_int, pick
from render.recipe.tables import Part, Recipe
from render.shapes import SHAPES
from render.shapes.kernels.surface import UPRIGHT, FloatArray, Rest

_UP = np.array([0.0, 0.0, 1.0])


def placement_area(
    recipe: Recipe, camera: CameraSpec, distance_m: float, tray: Geometry | None, rng: Generator
) -> PlacementArea:
    """Return the area, within the view of the first camera, in which parts are placed."""
    width, height, layout = recipe.image.width, recipe.image.height, recipe.layout
    if layout.mode == "fixed":
        return None
    seen = window(width, height, draw(layout.spread, rng), rng)
    if layout.mode == "floating":
        depth = draw(layout.depth_m, rng)
        return AirArea(camera, width, height, seen, distance_m, depth, layout.tries)
    return GroundArea(camera, width, height, seen, tray, layout.tries)


@dataclass(eq=False)
class PartPlacer:
    """Draws the parts of a scene and places them one after another."""

    recipe: Recipe
    assets: Assets
    seed: int
    objects: list[ObjectSpec] = field(default_factory=list)
    unplaced: list[tuple[str, str]] = field(default_factory=list)
    _instance_count: int = 0

    def place_all(self, area: PlacementArea, rng: Generator) -> None:
        """Draw and place every part of the recipe."""
        for part in self.recipe.parts:
            if rng.uniform() >= part.probability:
                continue
            for _ in range(draw_int(part.count, rng)):
                self._place(part, area, rng)

    def _place(self, part: Part, area: PlacementArea, rng: Generator) -> None:
        meshes = self._meshes(part, rng)
        body = body_of(tuple(meshes.values()))
        scale = self._scale(part, rng)
        rest = self._rest(part, body, rng)
        turn = np.reshape(rest.rotation, (3, 3))
        turn = about(_UP, math.radians(draw(part.yaw_deg, rng))) @ turn
        turn = about(np.array([1.0, 0.0, 0.0]), math.radians(draw(part.tilt_deg, rng))) @ turn
        materials = self._materials(part, tuple(meshes), rng)
        hull, gap = (body.hull @ turn.T) * scale, draw(self.recipe.layout.gap_m, rng)
        position = (0.0, 0.0, -float(hull[:, 2].min())) if area is None else area.place(hull, gap, rng)
        if position is None:
            self.unplaced.append((part.name, f"no free place in {self.recipe.layout.tries} tries"))
            return
        self._instance_count += 1
        at = pose(turn, np.asarray(position), scale)
        state = rest.state or _state(part, turn)
        labels: dict[str, Any] = {"state": {"state": state} if state and part.label != "state" else {}}
        if len(meshes) > 1 and part.label in ("name", "state"):
            labels["group"] = self._instance_count  # the components share one annotation
        for name, mesh in meshes.items():
            label = _category(part, name, state)
            self._add(
                f"{part.name}/{name}" if name else part.name, mesh, at, materials[name], label, **labels
            )
        find = SHAPES[part.shape].stamped if part.stamp else None
        if part.stamp is not None and find is not None:
            # Digits on the face of the part are separate objects with the material of the part.
            component, mesh = next(iter(meshes.items()))
            for glyph in stamp(part.stamp, find(mesh.form), scale, at, rng):
                text, look = glyph.mesh.text, {"legibility": glyph.legibility}
                self._add(
                    f"{part.name}/{text}", glyph.mesh, glyph.pose, materials[component], text, state=look
                )

    def _add(
        self, name: str, mesh: MeshSpec, at: Pose, material: MaterialSpec, label: str | None, **more: Any
    ) -> None:
        self.objects.append(
            ObjectSpec(
                name=name,
                mesh=mesh,
                pose=at,
                material=material,
                index=len(self.objects) + 1,
                instance=self._instance_count,
                category=label if self.recipe.labels.parts else None,
                **more,
            )
        )

    def _meshes(self, part: Part, rng: Generator) -> dict[str, MeshSpec]:
        """Return component -> mesh.

        A form has the same variants in all scenes of a dataset, so that meshes can be reused.
        """
        if part.mesh:
            asset = self.assets.meshes[part.mesh]
            return {c: MeshSpec(file=asset.key, component=c) for c in asset.components}
        number = pick(tuple(form.weight for form in part.forms), rng)
        form = part.forms[number]
        variant = int(rng.integers(form.variants))
        form_rng = np.random.default_rng(
            SeedSequence([self.seed, number, variant], spawn_key=tuple(part.name.encode()))
        )
        values = {name: draw(value, form_rng) for name, value in form.values.items()}
        return {
            c: MeshSpec(shape=part.shape, form=values, component=c) for c in SHAPES[part.shape].components
        }

    def _scale(self, part: Part, rng: Generator) -> float:
        """Return metres per own unit: a built-in shape is one unit long, a mesh file is in metres."""
        if part.size_m is None:
            return 1.0
        return draw(part.size_m, rng) / (self.assets.meshes[part.mesh].longest_m if part.mesh else 1.0)

    def _rest(self, part: Part, body: Body, rng: Generator) -> Rest:
        if isinstance(part.pose, tuple):
            turn = euler(part.pose[int(rng.integers(len(part.pose)))])
        elif part.pose == "any":
            turn = random_rotation(rng)
        elif part.pose == "upright":
            return UPRIGHT
        else:
            rests = (
                self.assets.meshes[part.mesh].rests if part.mesh else SHAPES[part.shape].rests or body.rests
            )
            return rests[pick(tuple(rest.weight for rest in rests), rng)]
        return Rest(tuple(float(v) for v in turn.ravel()))  # type: ignore[arg-type]  # nine numbers

    def _materials(self, part: Part, components: tuple[str, ...], rng: Generator) -> dict[str, MaterialSpec]:
        """Return component -> material; components without their own materials share that of the part."""
        shared = draw_material(part.materials, self.assets, rng)
        materials = {name: component.materials for name, component in part.components.items()}
        return {
            name: draw_material(materials[name], self.assets, rng) if materials.get(name) else shared
            for name in components
        }


def _category(part: Part, component: str, state: str) -> str | None:
    """Return the category of a part, or of one of its components; None if it has no label."""
    if part.label == "component":
        category = part.components[component].category if component in part.components else None
        return (component if category is None else category) or None
    return {"none": None, "state": state or None}.get(part.label, part.name)


def _state(part: Part, turn: FloatArray) -> str:
    """Return the state whose side points most upwards, for an orientation that is no resting pose."""
    rests = [rest for rest in SHAPES[part.shape].rests if rest.state] if part.shape else []
    if not rests:
        return ""
    up = turn.T @ _UP
    return max(rests, key=lambda rest: float(np.reshape(rest.rotation, (3, 3)).T @ _UP @ up)).state
