"""Verification: what each view shows, checked before the expensive render.

First the projections are computed, then a coarse grid of rays through every view, then rays at the objects
and flaws that the grid may have missed. A flaw that no view shows is removed before its material is compiled;
a view that shows too little is not rendered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import bpy
import msgspec
import numpy as np

from render.annotation.annotate import flaw_spots, groups
from render.core.spec import DefectSpec, MeshSpec, ObjectSpec, SceneSpec, ViewSpec
from render.geometry.projection import project, ray
from render.geometry.transforms import matrix, scale_of, to_world
from render.shapes.kernels.surface import FloatArray, Surface

#: A camera from which this share of the rays meets the back of one thing first stands inside it.
_INSIDE = 0.5
#: Rays along the longer side of a view.
_GRID = 48
#: Rays at a thing that the grid missed, and along and across a flaw.
_SPOTS, _FLAW_SPOTS = 96, 7


@dataclass(frozen=True)
class ViewVisibility:
    """What one view shows. index: of its image.  things: ObjectSpec.index; flaws: their numbers.

    inside: name of the thing the camera stands in.  reason: why it is not worth rendering; empty when it is.
    """

    index: int
    things: frozenset[int]
    flaws: frozenset[int]
    inside: str = ""
    reason: str = ""


def verify(
    scene: bpy.types.Scene, spec: SceneSpec, surface_of: Callable[[MeshSpec], Surface]
) -> tuple[ViewVisibility, ...]:
    """What every view of a scene shows; its objects must be there, their materials need not."""
    bpy.context.view_layer.update()
    graph = bpy.context.evaluated_depsgraph_get()
    return tuple(
        _with_reason(spec, _Look(scene, graph, spec, view, surface_of).sight()) for view in spec.views
    )


def without_hidden(spec: SceneSpec, sights: tuple[ViewVisibility, ...]) -> SceneSpec:
    """The spec without flaws that no view shows."""
    seen = frozenset[int]().union(*(sight.flaws for sight in sights))
    objects = tuple(
        msgspec.structs.replace(thing, defects=tuple(f for f in thing.defects if f.number in seen))
        for thing in spec.objects
    )
    return msgspec.structs.replace(spec, objects=objects)


def _with_reason(spec: SceneSpec, sight: ViewVisibility) -> ViewVisibility:
    """The sight with the reason why its view is not worth rendering, if there is one."""
    if sight.inside:
        return replace(
            sight,
            reason=f"the camera is inside {sight.inside}; "
            "move it (view_m, distance_m, position_m, look_at_m)",
        )
    flaws = [flaw for thing in spec.objects for flaw in thing.defects if flaw.category]
    things = groups(spec)
    seen = sum(any(piece.index in sight.things for piece in pieces) for pieces in things)
    marked = sum(flaw.number in sight.flaws for flaw in flaws)
    if flaws and not things and not marked:
        return replace(sight, reason=f"none of its {len(flaws)} flaws can be seen")
    if seen + marked < spec.labels.min_parts:
        return replace(
            sight, reason=f"{seen + marked} labels can be seen, expected at least {spec.labels.min_parts}"
        )
    return sight


@dataclass(frozen=True, eq=False)
class _Look:
    """One view of a scene, and rays through it."""

    scene: bpy.types.Scene
    graph: bpy.types.Depsgraph
    spec: SceneSpec
    view: ViewSpec
    surface_of: Callable[[MeshSpec], Surface]

    def sight(self) -> ViewVisibility:
        """What the view shows."""
        seen, inside = self._through_the_grid()
        for thing in self.spec.objects:
            if thing.index and thing.index not in seen and self._shows(thing):
                seen.add(thing.index)
        flaws = {
            flaw.number
            for thing in self.spec.objects
            for flaw in thing.defects
            if thing.index in seen and self._shows_flaw(thing, flaw)
        }
        return ViewVisibility(self.view.index, frozenset(seen), frozenset(flaws), inside)

    def _through_the_grid(self) -> tuple[set[int], str]:
        """Indices of what rays through evenly spread pixels meet, and whose inside most of them look at."""
        width, height = self.spec.width, self.spec.height
        step = max(width, height) / _GRID
        x, y = (np.arange(step / 2, side, step) for side in (width, height))
        pixels = np.stack([g.ravel() for g in np.meshgrid(x, y)], axis=1)
        _, eye = matrix(self.view.camera.pose)
        rays = ray(self.view.camera, width, height, pixels)
        seen, backs = set[int](), Counter[str]()
        for direction in rays:
            hit, _, normal, _, thing, _ = self.scene.ray_cast(self.graph, eye.tolist(), direction.tolist())
            if not hit:
                continue
            seen.add(thing.pass_index)
            if np.dot(normal, direction) > 0:
                backs[thing.name] += 1
        name, times = backs.most_common(1)[0] if backs else ("", 0)
        return seen - {0}, name if times >= _INSIDE * len(rays) else ""

    def _shows(self, thing: ObjectSpec) -> bool:
        """Whether a ray at some points spread over an object's surface gets there."""
        surface = self.surface_of(thing.mesh)
        areas = np.cumsum(np.linalg.norm(surface.normals, axis=1))
        if not len(areas) or areas[-1] <= 0:
            return False
        chosen = np.searchsorted(areas, (np.arange(_SPOTS) + 0.5) / _SPOTS * areas[-1])
        points = to_world(thing.pose, surface.vertices[surface.triangles[chosen]].mean(axis=1))
        return any(index == thing.index for index, _ in self._met_at(points))

    def _shows_flaw(self, thing: ObjectSpec, flaw: DefectSpec) -> bool:
        """Whether the camera is on a flaw's side of the surface, and a ray at some point of it gets there."""
        points = flaw_spots(thing, flaw, _FLAW_SPOTS)
        _, eye = matrix(self.view.camera.pose)
        outward = matrix(thing.pose)[0] @ matrix(flaw.frame)[0][:, 2]
        if not flaw.hole and outward @ (eye - points.mean(axis=0)) <= 0:
            return False
        # On a curved surface the points lie off it: a hit as near as the flaw is large counts.
        near = scale_of(thing.pose) * max(flaw.size_m) / 2
        return any(
            index == thing.index and float(np.linalg.norm(hit - point)) <= near
            for (index, hit), point in zip(self._met_at(points), points, strict=True)
        )

    def _met_at(self, points: FloatArray) -> Iterator[tuple[int, FloatArray]]:
        """Object index and place of what rays at points (n, 3) meet first.

        0 for what is never labelled, for nothing, and for points outside the picture.
        """
        width, height = self.spec.width, self.spec.height
        pixels = project(self.view.camera, width, height, points)
        inside = ((pixels >= 0) & (pixels < (width, height))).all(axis=1)
        _, eye = matrix(self.view.camera.pose)
        for point, in_image in zip(points, inside, strict=True):
            if not in_image:
                yield 0, point
                continue
            ahead = (point - eye).tolist()
            hit, place, _, _, thing, _ = self.scene.ray_cast(self.graph, eye.tolist(), ahead)
            yield (thing.pass_index if hit else 0), np.array(place)
