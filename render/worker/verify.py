"""Verification: what each view shows, checked before the expensive render.

Rays are cast on a coarse grid through every view, then at the objects and flaws that the grid may have
missed. A flaw that no view shows is removed before its material is compiled. A view that shows too little is
not rendered.
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

#: If this share of the rays first meets the back of one object, the camera is inside that object.
_INSIDE = 0.5
#: Rays of the grid along the longer side of a view.
_GRID = 48
#: Rays at an object that the grid missed; rays along, and across, a flaw.
_SPOTS, _FLAW_SPOTS = 96, 7


@dataclass(frozen=True)
class ViewVisibility:
    """What one view shows.

    index: index of the image.
    objects: ObjectSpec.index of the visible objects.
    flaws: numbers of the visible flaws.
    inside: name of the object that the camera is inside, or empty.
    reason: why the view is not rendered, or empty.
    """

    index: int
    objects: frozenset[int]
    flaws: frozenset[int]
    inside: str = ""
    reason: str = ""


def verify(
    scene: bpy.types.Scene, spec: SceneSpec, surface_of: Callable[[MeshSpec], Surface]
) -> tuple[ViewVisibility, ...]:
    """Return what every view of a scene shows. The objects must have been added; materials are not needed."""
    bpy.context.view_layer.update()
    graph = bpy.context.evaluated_depsgraph_get()
    return tuple(
        _with_reason(spec, _ViewProbe(scene, graph, spec, view, surface_of).visibility())
        for view in spec.views
    )


def without_hidden(spec: SceneSpec, visibilities: tuple[ViewVisibility, ...]) -> SceneSpec:
    """Return the spec without the flaws that no view shows."""
    visible = frozenset[int]().union(*(visibility.flaws for visibility in visibilities))
    objects = tuple(
        msgspec.structs.replace(obj, defects=tuple(f for f in obj.defects if f.number in visible))
        for obj in spec.objects
    )
    return msgspec.structs.replace(spec, objects=objects)


def _with_reason(spec: SceneSpec, visibility: ViewVisibility) -> ViewVisibility:
    """Return the visibility; if the view is not worth rendering, with the reason."""
    if visibility.inside:
        return replace(
            visibility,
            reason=f"the camera is inside {visibility.inside}; "
            "move it (view_m, distance_m, position_m, look_at_m)",
        )
    flaws = [flaw for obj in spec.objects for flaw in obj.defects if flaw.category]
    labelled = groups(spec)
    visible = sum(any(piece.index in visibility.objects for piece in pieces) for pieces in labelled)
    marked = sum(flaw.number in visibility.flaws for flaw in flaws)
    if flaws and not labelled and not marked:
        return replace(visibility, reason=f"none of its {len(flaws)} flaws can be seen")
    if visible + marked < spec.labels.min_parts:
        return replace(
            visibility,
            reason=f"{visible + marked} labels can be seen, expected at least {spec.labels.min_parts}",
        )
    return visibility


@dataclass(frozen=True, eq=False)
class _ViewProbe:
    """Casts rays through one view of a scene."""

    scene: bpy.types.Scene
    graph: bpy.types.Depsgraph
    spec: SceneSpec
    view: ViewSpec
    surface_of: Callable[[MeshSpec], Surface]

    def visibility(self) -> ViewVisibility:
        """Return what the view shows."""
        visible, inside = self._cast_grid()
        for obj in self.spec.objects:
            if obj.index and obj.index not in visible and self._object_is_visible(obj):
                visible.add(obj.index)
        flaws = {
            flaw.number
            for obj in self.spec.objects
            for flaw in obj.defects
            if obj.index in visible and self._flaw_is_visible(obj, flaw)
        }
        return ViewVisibility(self.view.index, frozenset(visible), frozenset(flaws), inside)

    def _cast_grid(self) -> tuple[set[int], str]:
        """Cast rays through evenly spaced pixels.

        Returns the indices of the objects hit, and the name of the object that the camera is inside.
        """
        width, height = self.spec.width, self.spec.height
        step = max(width, height) / _GRID
        x, y = (np.arange(step / 2, side, step) for side in (width, height))
        pixels = np.stack([g.ravel() for g in np.meshgrid(x, y)], axis=1)
        _, eye = matrix(self.view.camera.pose)
        rays = ray(self.view.camera, width, height, pixels)
        visible, back_hits = set[int](), Counter[str]()
        for direction in rays:
            hit, _, normal, _, obj, _ = self.scene.ray_cast(self.graph, eye.tolist(), direction.tolist())
            if not hit:
                continue
            visible.add(obj.pass_index)
            if np.dot(normal, direction) > 0:
                back_hits[obj.name] += 1
        name, hit_count = back_hits.most_common(1)[0] if back_hits else ("", 0)
        return visible - {0}, name if hit_count >= _INSIDE * len(rays) else ""

    def _object_is_visible(self, obj: ObjectSpec) -> bool:
        """Return whether a ray reaches any of some points spread over the surface of an object."""
        surface = self.surface_of(obj.mesh)
        areas = np.cumsum(np.linalg.norm(surface.normals, axis=1))
        if not len(areas) or areas[-1] <= 0:
            return False
        chosen = np.searchsorted(areas, (np.arange(_SPOTS) + 0.5) / _SPOTS * areas[-1])
        points = to_world(obj.pose, surface.vertices[surface.triangles[chosen]].mean(axis=1))
        return any(index == obj.index for index, _ in self._first_hits(points))

    def _flaw_is_visible(self, obj: ObjectSpec, flaw: DefectSpec) -> bool:
        """Return whether the camera faces the surface of the flaw, and a ray reaches a point of the flaw."""
        points = flaw_spots(obj, flaw, _FLAW_SPOTS)
        _, eye = matrix(self.view.camera.pose)
        outward = matrix(obj.pose)[0] @ matrix(flaw.frame)[0][:, 2]
        if not flaw.hole and outward @ (eye - points.mean(axis=0)) <= 0:
            return False
        # The points lie on a plane, off a curved surface. A hit counts if it is within half a flaw's length.
        tolerance = scale_of(obj.pose) * max(flaw.size_m) / 2
        return any(
            index == obj.index and float(np.linalg.norm(hit - point)) <= tolerance
            for (index, hit), point in zip(self._first_hits(points), points, strict=True)
        )

    def _first_hits(self, points: FloatArray) -> Iterator[tuple[int, FloatArray]]:
        """Yield the object index and the position of the first hit of a ray at each point (n, 3).

        The index is 0 for an unlabelled object, for no hit, and for a point outside the image.
        """
        width, height = self.spec.width, self.spec.height
        pixels = project(self.view.camera, width, height, points)
        inside = ((pixels >= 0) & (pixels < (width, height))).all(axis=1)
        _, eye = matrix(self.view.camera.pose)
        for point, in_image in zip(points, inside, strict=True):
            if not in_image:
                yield 0, point
                continue
            direction = (point - eye).tolist()
            hit, place, _, _, obj, _ = self.scene.ray_cast(self.graph, eye.tolist(), direction)
            yield (obj.pass_index if hit else 0), np.array(place)
