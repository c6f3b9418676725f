"""Check a dataset folder: records, images, hashes, boxes, masks and the merged COCO file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image, UnidentifiedImageError

from render.annotation import masks
from render.annotation.annotate import Annotation
from render.annotation.record_store import Record, read_identity, read_record
from render.annotation.records import coco
from render.coco import load_coco, parse_coco, read_coco
from render.core.errors import DatasetError
from render.recipe.categories import categories
from render.recipe.tables import Recipe

#: How far a polygon's area and box may be from those of the mask it was simplified from: corners are cut.
_POLYGON_SLACK_PX = 2


@dataclass(frozen=True)
class Verdict:
    """What is in a dataset, and a sentence for everything that is wrong with it."""

    images: int
    annotations: int
    empty: int
    skipped: int
    failed: int
    problems: tuple[str, ...]


def validate(dataset: Path) -> Verdict:
    """Check every file of a dataset, or the entries of a COCO file; raises DatasetError if it is neither."""
    if dataset.is_file():
        data = read_coco(dataset)
        return Verdict(len(data.pictures), len(data.bbox), data.empty, 0, 0, data.problems)
    identity = read_identity(dataset)
    names = frozenset(categories(identity.recipe))
    numbers = {int(path.stem) for path in (dataset / "records").glob("*.json") if path.stem.isdigit()}
    problems = [] if numbers else ["no records: nothing was rendered; run make again"]
    records: list[Record] = []
    for number in range(max(numbers, default=-1) + 1):
        record = read_record(dataset, number)
        if record is not None:
            records.append(record)
            image_problems = _check_image(dataset, number, record, identity.seed, names)
            problems += [f"image {number}: {problem}" for problem in image_problems]
        elif number in numbers:
            problems.append(f"records/{number:06d}.json cannot be read; remove it and run make again")
        else:
            problems.append(f"image {number} is missing; run make again")
    known = {record.file_name for record in records}
    for path in sorted((dataset / "images").iterdir()):
        if path.name not in known and not path.name.endswith(".partial"):
            problems.append(f"images/{path.name} belongs to no record; run make again, or remove it")
    done = [record for record in records if record.status == "done"]
    problems += _check_coco(dataset, done, identity.recipe)
    return Verdict(
        images=len(done),
        annotations=sum(len(record.annotations) for record in done),
        empty=sum(not record.annotations for record in done),
        skipped=sum(record.status == "skipped" for record in records),
        failed=sum(record.status == "failed" for record in records),
        problems=tuple(problems),
    )


def _check_image(
    dataset: Path, number: int, record: Record, seed: int, names: frozenset[str]
) -> Iterator[str]:
    if record.seed != seed:
        yield f"of seed {record.seed}; expected {seed}"
    if record.index != number:
        yield f"its record says it is image {record.index}"
    if record.status != "done":
        if record.file_name or record.annotations:
            yield f"it is {record.status}, but has a picture or labels"
        return
    yield from _check_picture(dataset / "images" / record.file_name, record)
    for place, annotation in enumerate(record.annotations):
        for problem in _check_annotation(annotation, record, names):
            yield f"label {place} ({annotation.category}): {problem}"


def _check_picture(path: Path, record: Record) -> Iterator[str]:
    try:
        data = path.read_bytes()
    except OSError:
        yield f"images/{record.file_name} is missing; run make again"
        return
    if hashlib.sha256(data).hexdigest() != record.sha256:
        yield f"images/{record.file_name} was changed: its hash is not the record's; run make again"
    try:
        with Image.open(path) as picture:
            picture.load()
            size = picture.size
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        yield f"images/{record.file_name} is no picture ({error})"
        return
    if size != (record.width, record.height):
        yield f"expected {record.width} x {record.height} px, got {size[0]} x {size[1]}"


def _check_annotation(annotation: Annotation, record: Record, names: frozenset[str]) -> Iterator[str]:
    x, y, w, h = annotation.bbox
    if annotation.category not in names:
        yield "the recipe has no such category"
    if w < 1 or h < 1 or x < 0 or y < 0 or x + w > record.width or y + h > record.height:
        yield f"box {list(annotation.bbox)} is not inside {record.width} x {record.height} px"
        return
    if not 0 < annotation.area <= w * h:
        yield f"area {annotation.area} does not fit a box of {w} x {h} px"
    for name in ("visible_fraction", "truncation"):
        if not 0 <= getattr(annotation, name) <= 1:
            yield f"{name} {getattr(annotation, name)} is not between 0 and 1"
    yield from _check_mask(annotation, record)


def _check_mask(annotation: Annotation, record: Record) -> Iterator[str]:
    size = (record.height, record.width)
    try:
        if annotation.rle:
            yield from _check_shape("mask", masks.decode(annotation.rle, *size), annotation, 0)
        if annotation.polygons:
            yield from _check_shape(
                "polygon", masks.fill(annotation.polygons, *size), annotation, _POLYGON_SLACK_PX
            )
    except Exception as error:  # pycocotools raises whatever its C code meets
        yield f"its mask cannot be decoded ({type(error).__name__}: {error})"


def _check_shape(what: str, mask: masks.Mask, annotation: Annotation, slack: int) -> Iterator[str]:
    if not mask.any():
        # A sliver may vanish when its polygon is filled; a run-length mask must not be empty.
        if annotation.area > slack * max(annotation.bbox[2:]):
            yield f"its {what} is empty"
        return
    box, area = masks.bounds(mask), int(mask.sum())
    sides, labelled = (np.array([x, y, x + w, y + h]) for x, y, w, h in (box, annotation.bbox))
    if np.abs(sides - labelled).max() > slack:
        yield f"its {what}'s box is {list(box)}, its own {list(annotation.bbox)}"
    if abs(area - annotation.area) > slack * 2 * (annotation.bbox[2] + annotation.bbox[3]):
        yield f"its {what} has {area} px, its area says {annotation.area}"


def _check_coco(dataset: Path, records: list[Record], recipe: Recipe) -> Iterator[str]:
    """annotations.json is what the records give when they are merged."""
    file = dataset / "annotations.json"
    if not file.exists():
        yield "annotations.json is missing; run make again"
        return
    try:
        stored = load_coco(file)
        problems = parse_coco(file, stored).problems
        # A missing picture is reported with its record.
        yield from (f"annotations.json: {problem}" for problem in problems if "no such file" not in problem)
        images = {image["id"]: image for image in stored["images"]}
        labels = _by_image(stored)
    except (DatasetError, KeyError, TypeError, AttributeError) as error:
        yield f"annotations.json is no COCO file ({type(error).__name__}: {error}); run make again"
        return
    try:
        merged = coco(records, categories(recipe), recipe.labels.margin)
    except DatasetError:
        return  # a label of an unknown category, reported with its image
    expected = msgspec.json.decode(msgspec.json.encode(merged))
    if images != {image["id"]: image for image in expected["images"]}:
        yield (
            f"annotations.json lists other images ({len(images)}) than the records ({len(records)}); "
            "run make again"
        )
    if stored.get("categories") != expected["categories"]:
        yield "annotations.json has other categories than the recipe; run make again"
    for id_, wanted in _by_image(expected).items():
        if id_ in images and labels.get(id_) != wanted:
            yield f"image {id_ - 1}: annotations.json has other labels than its record; run make again"


def _by_image(stored: Any) -> dict[int, list[Any]]:
    """The annotations of every image, without their running numbers."""
    by_image: dict[int, list[Any]] = {image["id"]: [] for image in stored["images"]}
    for annotation in stored["annotations"]:
        rest = {key: value for key, value in annotation.items() if key != "id"}
        by_image.setdefault(annotation["image_id"], []).append(rest)
    return by_image
