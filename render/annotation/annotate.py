"""Annotates what is visible. Lengths are in pixels; boxes are x, y, w, h with the origin top left."""

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
class RenderedView:
    """One rendered view; every array is (h, w).

    light: (h, w, 3) linear RGB.
    alpha: 1 where an object covers the background.
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
    visible_fraction: area over the area of the whole silhouette, including its part outside the image.
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
    rendered: RenderedView, spec: SceneSpec, view: ViewSpec, surface_of: Callable[[MeshSpec], Surface]
) -> tuple[Annotation, ...]:
    """Return the annotations of a view: objects in the order of their indices, then flaws by number."""
    labeller = _ViewLabeller(view.camera, spec.width, spec.height, spec.labels, surface_of)
    present = set(np.flatnonzero(np.bincount(np.maximum(rendered.index, 0).ravel())).tolist())
    annotations = []
    for pieces in groups(spec):
        indices = [obj.index for obj in pieces if obj.index in present]
        if indices:
            seen = np.logical_or.reduce([rendered.index == index for index in indices])
            annotations.append(labeller.label_object(seen, pieces))
    for obj in spec.objects:
        for flaw in obj.defects:
            if flaw.category and flaw.number in rendered.flaws:
                annotations.append(labeller.label_flaw(flaw_mask(rendered, obj, flaw), rendered, obj, flaw))
    return tuple(a for a in annotations if a is not None)


def groups(spec: SceneSpec) -> list[list[ObjectSpec]]:
    """Return the labelled objects, grouped by shared annotation, in the order of their indices."""
    together: dict[tuple[str, int], list[ObjectSpec]] = {}
    for obj in sorted(spec.objects, key=lambda o: o.index):
        if obj.index and obj.category:
            key = ("group", obj.group) if obj.group else ("object", obj.index)
            together.setdefault(key, []).append(obj)
    return list(together.values())


def flaw_mask(rendered: RenderedView, obj: ObjectSpec, flaw: DefectSpec) -> Mask:
    """Return where a flaw is visible.

    A hole shows the object behind it, so the object index is not that of the object with the hole. The AOV
    alone gives the mask: an object in front of a hole hides the AOV too.
    """
    marked = rendered.flaws[flaw.number] > 0.5
    return marked if flaw.hole else marked & (rendered.index == obj.index)


@dataclass(frozen=True, eq=False)
class _ViewLabeller:
    """Makes the annotations of one view, as the recipe's [labels] table asks."""

    camera: CameraSpec
    width: int
    height: int
    labels: LabelSpec
    surface_of: Callable[[MeshSpec], Surface]

    def label_object(self, mask: Mask, pieces: list[ObjectSpec]) -> Annotation | None:
        """Return the annotation of one or more objects; None if too little of them is visible."""
        full = self._silhouette(pieces) if self._is_large_enough(mask) else None
        if full is None:
            return None
        first, full_area = pieces[0], max(full.area_px, 1e-9)
        fraction = min(1.0, np.count_nonzero(mask) / max(full_area, 1.0))
        component = first.mesh.component if len(pieces) == 1 else ""
        more = {"category": first.category or "", "component": component, "state": first.state}
        return self._annotation(mask, first, fraction, 1 - full.inside_px / full_area, full.box, **more)

    def label_flaw(
        self, mask: Mask, rendered: RenderedView, obj: ObjectSpec, flaw: DefectSpec
    ) -> Annotation | None:
        """Return the annotation of a flaw; its silhouette is its rectangle, clipped to the object."""
        if not self._is_large_enough(mask):
            return None
        full = self._silhouette([obj])
        spots = project(self.camera, self.width, self.height, flaw_spots(obj, flaw, _SPOTS))
        spots = spots[full.covers(spots)] if full is not None else spots[:0]
        inside = ((spots >= 0) & (spots < (self.width, self.height))).all(axis=1)
        column, row = spots[inside].astype(np.int64).T
        seen = (rendered.index[row, column] == obj.index) | mask[row, column]
        # A flaw that bends around an edge may have no spot on the silhouette. It counts as fully visible.
        fraction = min(1.0, seen.sum() / len(spots)) if len(spots) else 1.0
        outside = 1 - float(inside.mean()) if len(spots) else 0.0
        x, y, w, h = masks.bounds(mask)
        extent = np.concatenate([spots, [(x, y), (x + w, y + h)]])
        box = (*extent.min(axis=0).tolist(), *extent.max(axis=0).tolist())
        more = {"category": flaw.category, "component": obj.mesh.component, "flaw": flaw.number}
        return self._annotation(mask, obj, fraction, outside, box, **more)

    def _silhouette(self, pieces: list[ObjectSpec]) -> Silhouette | None:
        placed = [(self.surface_of(piece.mesh), piece.pose) for piece in pieces]
        return silhouette(self.camera, self.width, self.height, placed)

    def _is_large_enough(self, mask: Mask) -> bool:
        shorter_side = min(masks.bounds(mask)[2:])
        area = np.count_nonzero(mask)
        return bool(area >= self.labels.min_visible_px and shorter_side >= self.labels.min_side_px)

    def _annotation(
        self, mask: Mask, obj: ObjectSpec, fraction: float, truncation: float, box: Box, **more: Any
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
            object_index=obj.index,
            instance=obj.instance,
            **more,
        )


def flaw_spots(obj: ObjectSpec, flaw: DefectSpec, count: int) -> FloatArray:
    """Return points (count * count, 3) in the world, spread evenly over the rectangle of a flaw."""
    axes, middle = matrix(flaw.frame)
    steps = (np.arange(count) + 0.5) / count - 0.5
    along, across = (g.reshape(-1, 1) for g in np.meshgrid(steps, steps))
    points = middle + along * flaw.size_m[0] * axes[:, 0] + across * flaw.size_m[1] * axes[:, 1]
    return to_world(obj.pose, points)
