"""Read and write COCO JSON of the workspace's classes; `render.coco` has the reader."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from al_loop.core.errors import DataError
from al_loop.core.files import write_json
from al_loop.structures.boxes import Boxes, FloatArray, IntArray
from al_loop.structures.images import LabelledImage
from al_loop.structures.segmentation import area
from render.coco import LabelledSet, Picture, Problem, listed, summarise
from render.coco import read_coco as read_all
from render.core.errors import DatasetError

__all__ = [
    "CocoImage", "CocoSet", "Problem", "listed", "missing_classes", "read_coco", "read_labelled_set",
    "summarise", "write_coco",
]  # fmt: skip

#: Similarity from which one name is offered for another.
_ALIKE = 0.7


@dataclass(frozen=True, eq=False)
class CocoImage:
    """One image of a COCO file: its path, its stated size in px, its boxes.

    ignored: regions where objects are neither to be found nor wrong to find (`iscrowd`, `ignore`).
    image_sha256: the id that the image has in the workspace that exported the file; None in files of other
        tools.
    """

    path: Path
    width: int
    height: int
    boxes: Boxes
    ignored: Boxes = field(default_factory=Boxes)
    image_sha256: str | None = None


@dataclass(frozen=True)
class CocoSet:
    """Usable images of a COCO file, and a sentence for all that was left out, joined or converted."""

    images: list[CocoImage] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_coco(path: Path, classes: Sequence[str]) -> CocoSet:
    """Read boxes of the named classes; what could not be taken as it stands is listed in `problems`.

    docs/inputs.md, "COCO files", says what is accepted, joined, converted, ignored and refused. Left out
    besides: boxes of other categories, images of which no box is left, images whose file is missing. A box
    whose category is a class in another spelling is an ignore region. Raises DataError for what is no COCO
    file.
    """
    coco = read_labelled_set(path)
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
        labels, bbox = class_index[regions.category[ignored]], regions.bbox[ignored]
        if len(objects) + len(ignored) and not len(boxes) + (labels >= 0).sum():
            what = f"has boxes, but none of {', '.join(classes)}: left out"
            problems.append(Problem(f"image {picture.name!r}", what))
            continue
        labels = np.concatenate([labels, misspelt[coco.category[objects]]])
        crowds = _boxes(picture, labels, np.concatenate([bbox, coco.bbox[objects]]))
        size = (picture.width, picture.height)
        images.append(CocoImage(picture.path, *size, boxes, crowds, picture.image_sha256))
    return CocoSet(images, problems)


def read_labelled_set(path: Path) -> LabelledSet:
    """Read a COCO file with all of its categories; DataError for what is no COCO file."""
    try:
        return read_all(path)
    except DatasetError as error:
        raise DataError(str(error)) from None


def missing_classes(images: Sequence[CocoImage], classes: Sequence[str]) -> list[str]:
    """Return the classes without a box."""
    seen = {int(label) for image in images for label in image.boxes.labels}
    return [name for i, name in enumerate(classes) if i not in seen]


def _by_picture(image: IntArray, count: int) -> list[IntArray]:
    """Return the row indices of each picture."""
    order = np.argsort(image, kind="stable")
    return np.split(order, np.searchsorted(image[order], np.arange(1, count))) if count else []


def _boxes(picture: Picture, labels: IntArray, bbox: FloatArray) -> Boxes:
    """Convert x, y, w, h to boxes inside the picture; rows with label -1 are dropped."""
    if not len(labels):
        return Boxes()
    valid = labels >= 0
    xyxy = np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], axis=1)
    xyxy[:, 2:] = np.minimum(xyxy[:, 2:], (picture.width, picture.height))
    return Boxes(xyxy[valid], labels[valid])


def _unknown(coco: LabelledSet, classes: Sequence[str]) -> Iterator[str]:
    """Yield a problem for each annotation whose category is no class, with the nearest class."""
    messages = {
        i: f"category {name!r} is none of {', '.join(classes)}{_offer(name, classes)}"
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


def _offer(name: str, classes: Sequence[str]) -> str:
    """Return a hint with the nearest class, "" for none."""
    plain = {_plain(other): other for other in classes}
    near = get_close_matches(_plain(name), plain, n=1, cutoff=_ALIKE)
    if not near:
        return ""
    return f"; did you mean {plain[near[0]]!r}? Rename it in the file or in the workspace"


def _plain(name: str) -> str:
    """Return a name without case, spaces, hyphens and Unicode form."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in text if letter not in " _-\t\u00a0")


def write_coco(
    path: Path,
    labelled: Sequence[LabelledImage],
    classes: Sequence[str],
    names: Mapping[str, str] | None = None,
) -> None:
    """Write images, boxes with outlines, and ignore regions (iscrowd 1) atomically; ids count from 1.

    names: what the file is to call each image, by its id; without, it is found by its absolute path, as by
        a trainer.
    """
    annotations: list[dict[str, Any]] = []
    for number, item in enumerate(labelled, start=1):
        for crowd, boxes in enumerate((item.boxes, item.ignored)):
            outlines = boxes.outlines or (None,) * len(boxes)
            rows = zip(boxes.xyxy.tolist(), boxes.labels.tolist(), outlines, strict=True)
            for (x1, y1, x2, y2), label, outline in rows:
                drawn = {} if outline is None else {"segmentation": outline}
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": label + 1,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1) if outline is None else area(outline),
                        "iscrowd": crowd,
                        **drawn,
                    }
                )
    images = [
        {
            "id": number,
            "file_name": names[item.image.id] if names else str(item.image.path),
            "width": item.image.width,
            "height": item.image.height,
            "image_sha256": item.image.id,
        }
        for number, item in enumerate(labelled, start=1)
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(classes, start=1)]
    write_json(path, {"images": images, "annotations": annotations, "categories": categories})
