"""The list `annotations` of a COCO file: boxes and ignore regions, clipped to their images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from render.coco.pictures import ImageList
from render.coco.problems import Problem, Problems, marked, short_repr, shown
from render.coco.structures import DUPLICATES, Id, Picture, flag, identifier, number

Box = tuple[float, float, float, float]

#: Boxes that stick out by at most this are clipped without a problem.
_ROUNDING_PX = 1.0
#: Boxes are corners if all of at least 3 fit as corners, and a third sticks out by a tenth of the image as
#: widths and heights. Boxes of large objects fit as corners too, but stick out by less.
_ENOUGH_BOXES, _SHARE_OUTSIDE, _FAR = 3, 1 / 3, 0.1
#: A box with less than this inside its image lies outside.
_SLIVER_PX = 0.05
#: A box whose numbers are all below is in fractions of its image: no object is one pixel in the corner.
_FRACTIONS = 1.001
#: Count of numbers of a triangle, the smallest polygon.
_TRIANGLE = 6


@dataclass(frozen=True)
class Region:
    """One usable annotation.

    picture: index into the list of images.
    bbox: x, y, w, h in px, inside the image.
    row: index into the file's list.
    """

    picture: int
    category: str
    bbox: Box
    outline: Any
    ignored: bool
    row: int


class _RefusedError(Exception):
    """An annotation cannot be used; the message says why."""


@dataclass
class AnnotationReader:
    """Reads annotations one by one and adds what is wrong to `problems`.

    categories: names by id, None for an ambiguous one.
    labelled: images with annotations, usable or not.
    of_no_image: number of annotations without an image of the file.
    """

    images: ImageList
    categories: Mapping[Id, str | None]
    problems: Problems
    labelled: set[int] = field(default_factory=set)
    of_no_image: int = 0
    _seen: dict[tuple[object, ...], tuple[object, object]] = field(default_factory=dict)
    _as_corners: list[bool] = field(default_factory=list)
    _outside: list[Problem] = field(default_factory=list)
    _far_outside: int = 0
    _row: int = 0
    _annotation: Any = None

    def read(self, rows: Sequence[Any]) -> list[Region]:
        """Return the usable annotations in the order of the file."""
        regions = []
        for self._row, self._annotation in enumerate(rows):
            try:
                region = self._region(self._annotation)
            except _RefusedError as error:
                self._add(str(error))
                continue
            if region is not None:
                regions.append(region)
        count = len(self._as_corners)
        if count >= _ENOUGH_BOXES and all(self._as_corners) and self._far_outside >= _SHARE_OUTSIDE * count:
            what = (
                f"the {count} boxes fit as corners [x1, y1, x2, y2], and {self._far_outside} stick out "
                "far as [x, y, width, height]: left out. Write width and height, as COCO has them"
            )
            self.problems.add("all annotations", what)
            return []
        self.problems += self._outside
        return regions

    def _add(self, what: str) -> None:
        self.problems.add(self._where(), what)

    def _where(self) -> str:
        """Return the name of the current annotation in problems, with its image where it has one."""
        entry = self._annotation if isinstance(self._annotation, dict) else {}
        has_id = identifier(entry.get("id")) is not None
        where = f"annotation {shown(entry['id'])}" if has_id else f"annotation number {self._row + 1}"
        image = identifier(entry.get("image_id"))
        position = None if image is None else self.images.of_id.get(image)
        return where if position is None else f"{where} of {self.images.pictures[position].name}"

    def _region(self, annotation: Any) -> Region | None:
        """Return one annotation; None where its image is left out."""
        if not isinstance(annotation, dict):
            self.of_no_image += 1
            raise _RefusedError(f"expected an object, got {shown(annotation)}")
        position = self._picture_of(annotation)
        if position is None:
            return None
        self.labelled.add(position)
        picture = self.images.pictures[position]
        twice = {"category_id", "bbox", "iscrowd", "ignore", "attributes"} & {*annotation.get(DUPLICATES, ())}
        if twice:
            raise _RefusedError(f"has {', '.join(sorted(twice))} twice, with different values")
        category = self._category(annotation.get("category_id"))
        crowd, ignore = flag(annotation.get("iscrowd")), flag(annotation.get("ignore"))
        if crowd is None or ignore is None:
            got = f"{shown(annotation.get('iscrowd'))} and {shown(annotation.get('ignore'))}"
            raise _RefusedError(f"iscrowd and ignore must be 0 or 1, got {got}")
        ignored = crowd or ignore
        with_bbox = self._with_bbox(annotation, picture)
        bbox = self._bbox(with_bbox, picture, ignored)
        self._check_first((position, category, bbox, ignored), annotation)
        if with_bbox is not annotation:
            self._add("has no bbox: the box around its segmentation is taken")
        outline = self._outline(annotation, picture)
        return Region(position, category, bbox, outline, ignored, self._row)

    def _with_bbox(self, annotation: Mapping[str, Any], picture: Picture) -> Mapping[str, Any]:
        """Return an annotation with the box around its segmentation in place of a missing one."""
        if annotation.get("bbox") not in (None, []) or not annotation.get("segmentation"):
            return annotation
        try:
            box = hull_of(outline_of(annotation["segmentation"], picture), picture)
        except ValueError as error:
            raise _RefusedError(f"has no bbox, and its segmentation cannot be used: {error}") from None
        return {**annotation, "bbox": box, "attributes": None}

    def _picture_of(self, annotation: Mapping[str, Any]) -> int | None:
        id_ = identifier(annotation.get("image_id"))
        if id_ is None or "image_id" in annotation.get(DUPLICATES, ()):
            self.of_no_image += 1
            got = shown(annotation.get("image_id"))
            raise _RefusedError(f"image_id must be one number or text, got {got}")
        if id_ not in self.images.of_id:
            self.of_no_image += 1
            raise _RefusedError(f"image_id {shown(id_)} is not in images")
        position = self.images.of_id[id_]
        if position is not None and type(annotation["image_id"]) is not self.images.written.get(id_):
            self._add("image_id and the image's id are written otherwise (1, 1.0, '1'): matched")
        return position

    def _category(self, value: object) -> str:
        id_ = identifier(value)
        name = None if id_ is None else self.categories.get(id_)
        if name is None:
            known = ", ".join([f"{short_repr(i)} ({n})" for i, n in self.categories.items() if n][:20])
            raise _RefusedError(
                f"category_id {short_repr(value)} is {f'none of {known}' if known else 'not in categories'}"
            )
        return name

    def _bbox(self, annotation: Mapping[str, Any], picture: Picture, ignored: bool) -> Box:
        """Return the box clipped to its image; count boxes that stick out or could be corners."""
        raw = annotation.get("bbox")
        numbers = [number(value) for value in raw] if isinstance(raw, list) and len(raw) == 4 else [None]
        values = [value for value in numbers if value is not None]
        if len(values) != 4:
            raise _RefusedError(f"bbox must be four finite numbers [x, y, width, height], got {shown(raw)}")
        if values[2] <= 0 or values[3] <= 0:
            raise _RefusedError(f"box {shown(raw)} has no area")
        size = f"{marked(f'{picture.width}x{picture.height}')} image"
        if max(map(abs, values)) <= _FRACTIONS:
            raise _RefusedError(
                f"box {shown(raw)} is in fractions of the {size}: expected px. Multiply x and width by the "
                "image's width, y and height by its height"
            )
        x, y, w, h = values
        corners = w > x and h > y and w <= picture.width + 1 and h <= picture.height + 1
        x, y, w, h = self._upright(annotation, (x, y, w, h))
        x1, y1 = max(x, 0.0), max(y, 0.0)
        x2, y2 = min(x + w, float(picture.width)), min(y + h, float(picture.height))
        outside = max(-x, -y, x + w - picture.width, y + h - picture.height)
        if not ignored:
            self._as_corners.append(corners)
            far = max(x + w - (1 + _FAR) * picture.width, y + h - (1 + _FAR) * picture.height)
            self._far_outside += far > 0
        if x2 - x1 < _SLIVER_PX or y2 - y1 < _SLIVER_PX:
            thin = values[2] < _SLIVER_PX or values[3] < _SLIVER_PX
            raise _RefusedError(f"box {shown(raw)} {'has no area' if thin else f'lies outside the {size}'}")
        if outside > _ROUNDING_PX:
            hint = "; as corners [x1, y1, x2, y2] it would fit" if corners else ""
            what = f"box {shown(raw)} sticks out of the {size}; clipped{hint}"
            self._outside.append(Problem(self._where(), what))
        return (x, y, w, h) if outside <= 0 else (x1, y1, x2 - x1, y2 - y1)

    def _upright(self, annotation: Mapping[str, Any], box: Box) -> Box:
        """Return the upright hull of a box that CVAT rotated about its centre; `bbox` is the box before that.

        Source: cvat-ai/cvat, issues 4745 and 5881. The sense of rotation does not change the hull.
        """
        attributes = annotation.get("attributes")
        stated = attributes.get("rotation") if isinstance(attributes, dict) else None
        degrees = 0.0 if stated is None else number(stated)
        if degrees is None:
            raise _RefusedError(f"attributes.rotation must be a number of degrees, got {shown(stated)}")
        if degrees % 180 == 0:
            return box
        x, y, w, h = box
        if degrees % 90 == 0:
            width, height = h, w
        else:
            cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
            width, height = w * cos + h * sin, w * sin + h * cos
        self._add(f"rotated by {marked(f'{degrees:g}')} degrees: the upright box around it is taken")
        return x + (w - width) / 2, y + (h - height) / 2, width, height

    def _outline(self, annotation: Mapping[str, Any], picture: Picture) -> Any:
        try:
            return outline_of(annotation.get("segmentation"), picture)
        except ValueError as error:
            self._add(f"its segmentation is left out, its box kept: {error}")
            return None

    def _check_first(self, key: tuple[object, ...], annotation: Mapping[str, Any]) -> None:
        """Refuse a box that another entry of the same file has too, or that has the same id.

        Joined entries may each list all boxes. Two equal boxes of one entry are both kept.
        """
        ids = identifier(annotation["image_id"]), identifier(annotation.get("id"))
        before = self._seen.setdefault(key, ids)
        if before is not ids and (before[0] != ids[0] or (ids[1] is not None and before[1] == ids[1])):
            raise _RefusedError("is the same as one before, in box, category and image: kept once")


def outline_of(segmentation: Any, picture: Picture) -> Any:
    """Return polygons or run lengths as they are, None for none; ValueError for anything else."""
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        for ring in segmentation:
            if not isinstance(ring, list) or len(ring) < _TRIANGLE or len(ring) % 2:
                raise ValueError("a polygon is a list of x, y, x, y, ... of three corners or more")
            if not _finite(ring):
                raise ValueError("a polygon has finite numbers only")
        return segmentation
    if not isinstance(segmentation, dict) or segmentation.get("size") != [picture.height, picture.width]:
        size = marked(f"[{picture.height}, {picture.width}]")
        got = shown(segmentation.get("size") if isinstance(segmentation, dict) else segmentation)
        raise ValueError(f"run lengths need the size {size} of the image, got {got}")
    counts = segmentation.get("counts")
    if isinstance(counts, list):
        whole = all(type(run) is int and run >= 0 for run in counts)
        if not whole or sum(counts) > picture.height * picture.width:
            raise ValueError("run lengths must be numbers of px, together no more than the image has")
    elif not isinstance(counts, str) or not counts.isascii():
        raise ValueError("counts must be a list or a text")
    return segmentation


def hull_of(segmentation: Any, picture: Picture) -> list[float]:
    """Return x, y, w, h of the box around a segmentation of `outline_of`. ValueError for an empty one."""
    if isinstance(segmentation, list):
        points = np.concatenate([np.reshape(ring, (-1, 2)) for ring in segmentation])
        (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return [x1, y1, x2 - x1, y2 - y1]
    from render.annotation.masks import bounds, of_segmentation  # imports OpenCV

    x, y, w, h = bounds(of_segmentation(segmentation, picture.height, picture.width))
    if not w:
        raise ValueError("its mask has no pixel")
    return [x, y, w, h]


def _finite(ring: list[Any]) -> bool:
    """Whether all are finite numbers; without a loop in Python, as files have millions of them."""
    try:
        return {*map(type, ring)} <= {int, float} and all(map(math.isfinite, ring))
    except OverflowError:
        return False
