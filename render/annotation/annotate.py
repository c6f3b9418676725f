"""Annotations of what is visible. Pixels; boxes are x, y, w, h with the origin top left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from render.annotation import masks
from render.annotation.masks import Mask, Polygon
from render.core.spec import CameraSpec, DefectSpec, LabelSpec, MeshSpec, ObjectSpec, SceneSpec, ViewSpec
from render.geometry.projection import project
from render.geometry.silhouette import Silhouette, silhouette
from render.geometry.transforms import matrix, to_world
from render.shapes.kernels.surface import FloatArray, Surface

Box = tuple[float, float, float, float]
#: Points along and across a flaw at which its occlusion is checked.
_SPOTS = 16


@dataclass(frozen=True, eq=False)
class Shot:
    """One rendered view; every array is (h, w).

    light: (h, w, 3) linear RGB.
    alpha: 1 where an object stands before the background.
    index: ObjectSpec.index of the visible object, 0 for none.
    flaws: flaw number -> share of the pixel that shows the flaw.
    """

    light: NDArray[np.float32]
    alpha: NDArray[np.float32]
    index: NDArray[np.int32]
    flaws: dict[int, NDArray[np.float32]]


class Annotation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Label of one object or one flaw.

    bbox: box of the visible pixels: x, y, width, height.
    area: number of visible pixels.
    visible_fraction: area over the area of the whole silhouette, outside the image too.
    truncation: share of the silhouette outside the image.
    amodal_bbox: box of the silhouette.
    object_index, instance, component: as in the spec.
    flaw: number of the flaw; 0 for an object.
    rle, polygons: the mask, if the recipe asks for it.
    """

    category: str
    bbox: tuple[int, int, int, int]
    area: int
    visible_fraction: float
    truncation: float
    amodal_bbox: tuple[float, float, float, float]
    object_index: int
    instance: int = 0
    component: str = ""
    flaw: int = 0
    state: dict[str, str] = {}
    rle: str = ""
    polygons: tuple[Polygon, ...] = ()


def label(
    shot: Shot, spec: SceneSpec, view: ViewSpec, surface_of: Callable[[MeshSpec], Surface]
) -> tuple[Annotation, ...]:
    """Annotations of a view: things in the order of their indices, then flaws by number."""
    eye = _Eye(view.camera, spec.width, spec.height, spec.labels, surface_of)
    present = set(np.flatnonzero(np.bincount(np.maximum(shot.index, 0).ravel())).tolist())
    annotations = []
    for pieces in groups(spec):
        indices = [thing.index for thing in pieces if thing.index in present]
        if indices:
            seen = np.logical_or.reduce([shot.index == index for index in indices])
            annotations.append(eye.thing(seen, pieces))
    for thing in spec.objects:
        for flaw in thing.defects:
            if flaw.category and flaw.number in shot.flaws:
                annotations.append(eye.flaw(flaw_mask(shot, thing, flaw), shot, thing, flaw))
    return tuple(a for a in annotations if a is not None)


def groups(spec: SceneSpec) -> list[list[ObjectSpec]]:
    """Objects that share an annotation, in the order of their first; unlabelled ones are left out."""
    together: dict[tuple[str, int], list[ObjectSpec]] = {}
    for thing in sorted(spec.objects, key=lambda o: o.index):
        if thing.index and thing.category:
            key = ("group", thing.group) if thing.group else ("alone", thing.index)
            together.setdefault(key, []).append(thing)
    return list(together.values())


def flaw_mask(shot: Shot, thing: ObjectSpec, flaw: DefectSpec) -> Mask:
    """Return where a flaw is visible.

    A hole shows the object behind it, so the object index differs there. An object that hides a hole hides
    its AOV too.
    """
    marked = shot.flaws[flaw.number] > 0.5
    return marked if flaw.hole else marked & (shot.index == thing.index)


@dataclass(frozen=True, eq=False)
class _Eye:
    """A view, and what of it is kept."""

    camera: CameraSpec
    width: int
    height: int
    labels: LabelSpec
    surface_of: Callable[[MeshSpec], Surface]

    def thing(self, mask: Mask, pieces: list[ObjectSpec]) -> Annotation | None:
        """The annotation of a thing of one or more objects."""
        whole = self._silhouette(pieces) if self._large(mask) else None
        if whole is None:
            return None
        first, full = pieces[0], max(whole.area_px, 1e-9)
        fraction = min(1.0, np.count_nonzero(mask) / max(full, 1.0))
        component = first.mesh.component if len(pieces) == 1 else ""
        more = {"category": first.category or "", "component": component, "state": first.state}
        return self._annotation(mask, first, fraction, 1 - whole.inside_px / full, whole.box, **more)

    def flaw(self, mask: Mask, shot: Shot, thing: ObjectSpec, flaw: DefectSpec) -> Annotation | None:
        """Label of a flaw; its silhouette is its rectangle, clipped to the object."""
        if not self._large(mask):
            return None
        whole = self._silhouette([thing])
        spots = project(self.camera, self.width, self.height, flaw_spots(thing, flaw, _SPOTS))
        spots = spots[whole.covers(spots)] if whole is not None else spots[:0]
        inside = ((spots >= 0) & (spots < (self.width, self.height))).all(axis=1)
        column, row = spots[inside].astype(np.int64).T
        seen = (shot.index[row, column] == thing.index) | mask[row, column]
        # A flaw around an edge may have no spot on the silhouette: then it is as visible as it looks.
        fraction = min(1.0, seen.sum() / len(spots)) if len(spots) else 1.0
        outside = 1 - float(inside.mean()) if len(spots) else 0.0
        x, y, w, h = masks.bounds(mask)
        rim = np.concatenate([spots, [(x, y), (x + w, y + h)]])
        box = (*rim.min(axis=0).tolist(), *rim.max(axis=0).tolist())
        more = {"category": flaw.category, "component": thing.mesh.component, "flaw": flaw.number}
        return self._annotation(mask, thing, fraction, outside, box, **more)

    def _silhouette(self, pieces: list[ObjectSpec]) -> Silhouette | None:
        placed = [(self.surface_of(piece.mesh), piece.pose) for piece in pieces]
        return silhouette(self.camera, self.width, self.height, placed)

    def _large(self, mask: Mask) -> bool:
        shorter_side = min(masks.bounds(mask)[2:])
        area = np.count_nonzero(mask)
        return bool(area >= self.labels.min_visible_px and shorter_side >= self.labels.min_side_px)

    def _annotation(
        self, mask: Mask, thing: ObjectSpec, fraction: float, truncation: float, box: Box, **more: Any
    ) -> Annotation | None:
        if fraction < self.labels.min_visible_fraction:
            return None
        if self.labels.masks != "none":
            more["rle"] = masks.encode(mask)
        if self.labels.masks == "polygon":
            more["polygons"] = masks.polygons(mask)
        x0, y0, x1, y1 = (round(v, 2) for v in box)
        return Annotation(
            bbox=masks.bounds(mask),
            area=int(np.count_nonzero(mask)),
            visible_fraction=round(float(fraction), 4),
            truncation=max(0.0, round(truncation, 4)),
            amodal_bbox=(x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)),
            object_index=thing.index,
            instance=thing.instance,
            **more,
        )


def flaw_spots(thing: ObjectSpec, flaw: DefectSpec, count: int) -> FloatArray:
    """Points (count * count, 3) in the world, spread evenly over the rectangle a flaw lies in."""
    axes, middle = matrix(flaw.frame)
    steps = (np.arange(count) + 0.5) / count - 0.5
    along, across = (g.reshape(-1, 1) for g in np.meshgrid(steps, steps))
    points = middle + along * flaw.size_m[0] * axes[:, 0] + across * flaw.size_m[1] * axes[:, 1]
    return to_world(thing.pose, points)
