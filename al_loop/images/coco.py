"""Read and write COCO JSON for the workspace's classes; `render.coco` has the reader."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from al_loop.core.errors import DataError
from al_loop.core.files import write_json
from al_loop.structures.boxes import Boxes, FloatArray, IntArray, Outline
from al_loop.structures.images import LabelledImage
from al_loop.structures.segmentation import area
from render.coco import LabelledSet, Picture, Problem, listed, summarise
from render.coco import read_coco as read_all
from render.core.errors import DatasetError

__all__ = [
    "CocoImage", "CocoSet", "Problem", "listed", "missing_classes", "read_coco", "summarise", "write_coco",
]  # fmt: skip

_SIMILAR = 0.7  # minimum similarity of a class that is suggested for a misspelt category


@dataclass(frozen=True, eq=False)
class CocoImage:
    """One image of a COCO file: its path, its stated size in px, its boxes.

    ignored: regions that count neither in training nor in evaluation (`iscrowd`, `ignore`).
    image_sha256: id of the image in the workspace that exported the file; None in files of other tools.
    attributes: words about each box by name, such as {"legibility": "poorly"}.
    """

    path: Path
    width: int
    height: int
    boxes: Boxes
    ignored: Boxes = field(default_factory=Boxes)
    image_sha256: str | None = None
    attributes: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class CocoSet:
    """The usable images of a COCO file, and one message per problem: left out, joined or converted parts."""

    images: list[CocoImage] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_coco(path: Path, classes: Sequence[str], *, outlines: bool = False, masks: bool = False) -> CocoSet:
    """Read boxes of the named classes. `problems` lists everything that could not be used unchanged.

    outlines: read polygons and masks, too, as they are. Those that cannot be used are left out silently.
    masks: read them as labels: they are checked, clipped and reported (`al_loop.images.outlines`).

    docs/inputs.md, "COCO files", says what is accepted, joined, converted, ignored and refused. Boxes of
    other categories, images that have only such boxes, and images without a file are left out, too. A box
    whose category is another spelling of a class becomes an ignore region.
    Raises DataError for a file that is not COCO.
    """
    try:
        coco = read_all(path)
    except DatasetError as error:
        raise DataError(str(error)) from None
    index = {name: i for i, name in enumerate(classes)}
    class_index = np.array([index.get(name, -1) for name in coco.categories], dtype=np.int64)
    misspelt = _misspelt(coco.categories, classes)
    problems = [*coco.problems, *_unknown(coco, classes)]
    regions, images = coco.ignored, []
    for picture, objects, ignored in zip(
        coco.pictures,
        _by_picture(coco.image, len(coco.pictures)),
        _by_picture(regions.image, len(coco.pictures)),
        strict=True,
    ):
        if picture.path is None:
            continue
        boxes = _boxes(picture, class_index[coco.category[objects]], coco.bbox[objects])
        kept = objects[class_index[coco.category[objects]] >= 0]
        if masks:
            boxes = replace(boxes, outlines=_checked_outlines(coco, kept, boxes, picture, problems))
        elif outlines:
            drawn = tuple(_usable(coco.outlines[row], picture) for row in kept)
            boxes = replace(boxes, outlines=drawn if any(drawn) else None)
        labels, bbox = class_index[regions.category[ignored]], regions.bbox[ignored]
        if len(objects) + len(ignored) and not len(boxes) + (labels >= 0).sum():
            what = f"has boxes, but none of {', '.join(classes)}: left out"
            problems.append(Problem(f"image {picture.name!r}", what))
            continue
        labels = np.concatenate([labels, misspelt[coco.category[objects]]])
        crowds = _boxes(picture, labels, np.concatenate([bbox, coco.bbox[objects]]))
        size = (picture.width, picture.height)
        words = tuple(coco.attributes[row] for row in kept)
        images.append(CocoImage(picture.path, *size, boxes, crowds, picture.image_sha256, words))
    return CocoSet(images, problems)


def missing_classes(images: Sequence[CocoImage | LabelledImage], classes: Sequence[str]) -> list[str]:
    """Return the classes without a box."""
    seen = {int(label) for image in images for label in image.boxes.labels}
    return [name for i, name in enumerate(classes) if i not in seen]


def _by_picture(image: IntArray, count: int) -> list[IntArray]:
    """Return the row indices of each image."""
    order = np.argsort(image, kind="stable")
    return np.split(order, np.searchsorted(image[order], np.arange(1, count))) if count else []


def _boxes(picture: Picture, labels: IntArray, bbox: FloatArray) -> Boxes:
    """Convert x, y, w, h to boxes inside the image. Drop rows with label -1."""
    valid = labels >= 0
    xyxy = np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], axis=1)
    xyxy[:, 2:] = np.minimum(xyxy[:, 2:], (picture.width, picture.height))
    return Boxes(xyxy[valid], labels[valid])


def _checked_outlines(
    coco: LabelledSet, rows: IntArray, boxes: Boxes, picture: Picture, problems: list[str]
) -> tuple[Outline | None, ...] | None:
    """Return the outlines of boxes as they are stored. Add what is wrong with them to `problems`.

    rows: index of each box in the file's objects.
    """
    if not any(coco.outlines[row] for row in rows):
        return None
    from al_loop.images.outlines import check_outline  # `pool add` needs none of its imports

    checked = []
    for row, box in zip(rows, boxes.xyxy, strict=True):
        found = check_outline(coco.outlines[row], box, picture.width, picture.height)
        where = f"annotation number {coco.rows[row] + 1} of {picture.name}"
        problems += [Problem(where, problem) for problem in found.problems]
        checked.append(found.outline)
    return tuple(checked) if any(checked) else None


def _usable(outline: Outline | None, picture: Picture) -> Outline | None:
    """Return an outline that has an area in its image. Otherwise None: the box counts."""
    if isinstance(outline, dict):
        from render.annotation.masks import of_segmentation  # imports OpenCV, which `pool add` does not need

        try:
            return outline if of_segmentation(outline, picture.height, picture.width).any() else None
        except ValueError:
            return None
    return outline if outline and area(outline) > 0 else None


def _unknown(coco: LabelledSet, classes: Sequence[str]) -> Iterator[str]:
    """Yield a problem for each annotation whose category is not a class, with the most similar class."""
    messages = {
        i: f"category {name!r} is none of {', '.join(classes)}{_suggestion(name, classes)}"
        for i, name in enumerate(coco.categories)
        if name not in classes
    }
    for part in (coco, coco.ignored):
        for image, category, row in zip(part.image.tolist(), part.category.tolist(), part.rows, strict=True):
            if category in messages:
                where = f"annotation number {row + 1} of {coco.pictures[image].name}"
                yield Problem(where, messages[category])


def _misspelt(names: Sequence[str], classes: Sequence[str]) -> IntArray:
    """Return for each name the class that differs only in case, spaces or Unicode form, else -1."""
    plain = {_plain(name): i for i, name in enumerate(classes)}
    indices = [-1 if name in classes else plain.get(_plain(name), -1) for name in names]
    return np.array(indices, dtype=np.int64)


def _suggestion(name: str, classes: Sequence[str]) -> str:
    """Return a hint with the most similar class, or "" if no class is similar."""
    plain = {_plain(other): other for other in classes}
    similar = get_close_matches(_plain(name), plain, n=1, cutoff=_SIMILAR)
    if not similar:
        return ""
    return f"; did you mean {plain[similar[0]]!r}? Rename it in the file or in the workspace"


def _plain(name: str) -> str:
    """Return a name without case, spaces, hyphens and Unicode form."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in text if letter not in " _-\t\u00a0")


def write_coco(
    path: Path,
    labelled: Sequence[LabelledImage],
    classes: Sequence[str],
    names: Sequence[str] | None = None,
) -> None:
    """Write images, boxes with outlines, and ignore regions (iscrowd 1) atomically. Ids count from 1.

    Boxes of a model have their score, too.
    names: file names of the images. None: absolute paths, as a trainer needs.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, item in enumerate(labelled, start=1):
        image = item.image
        images.append(
            {
                "id": number,
                "file_name": names[number - 1] if names else str(image.path),
                "width": image.width,
                "height": image.height,
                "image_sha256": image.id,
            }
        )
        for crowd, boxes in enumerate((item.boxes, item.ignored)):
            outlines = boxes.outlines or (None,) * len(boxes)
            scores = (
                [{}] * len(boxes) if boxes.scores is None else [{"score": s} for s in boxes.scores.tolist()]
            )
            rows = zip(boxes.xyxy.tolist(), boxes.labels.tolist(), outlines, scores, strict=True)
            for (x1, y1, x2, y2), label, outline, score in rows:
                annotation = {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1) if outline is None else area(outline),
                    "iscrowd": crowd,
                    **score,
                }
                annotations.append(annotation if outline is None else {**annotation, "segmentation": outline})
    categories = [{"id": i, "name": name} for i, name in enumerate(classes, start=1)]
    write_json(path, {"images": images, "annotations": annotations, "categories": categories})
