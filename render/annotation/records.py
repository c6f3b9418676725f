"""The record of an image, and its export formats: COCO, YOLO, mask images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from render.annotation import masks
from render.annotation.annotate import Annotation
from render.core.errors import DatasetError

MaskKind = Literal["colour", "class", "instance", "onehot"]
MASK_KINDS: tuple[MaskKind, ...] = ("colour", "class", "instance", "onehot")


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """Outcome of rendering one image. A failed or skipped image has a reason and no file.

    scene: SceneSpec.index.
    view: number of the view in its scene, from 0.
    status: "skipped" if the view would show too little to be rendered.
    """

    index: int
    scene: int
    view: int
    seed: int
    status: Literal["done", "failed", "skipped"]
    width: int
    height: int
    file_name: str = ""
    sha256: str = ""
    annotations: tuple[Annotation, ...] = ()
    unplaced: int = 0
    reason: str = ""


def expanded_box(annotation: Annotation, record: Record, margin: float) -> tuple[float, float, float, float]:
    """Return the box of an annotation, enlarged on every side by the share `margin`, within the image."""
    x, y, w, h = annotation.bbox
    if not margin:
        return annotation.bbox
    x0, y0 = max(0.0, x - margin * w), max(0.0, y - margin * h)
    x1, y1 = min(float(record.width), x + w + margin * w), min(float(record.height), y + h + margin * h)
    return (round(x0, 2), round(y0, 2), round(x1 - x0, 2), round(y1 - y0, 2))


def coco(records: Iterable[Record], names: Sequence[str], margin: float = 0.0) -> dict[str, Any]:
    """Return the COCO document of the rendered images; `names` are the categories in the order of their ids.

    margin: see `expanded_box`. The box without margin is stored as "visible_bbox".
    """
    ids = {name: number for number, name in enumerate(names, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for record in records:
        image = {"id": record.index + 1, "file_name": record.file_name}
        images.append({**image, "width": record.width, "height": record.height})
        for annotation in record.annotations:
            head = {"id": len(annotations) + 1, "image_id": record.index + 1}
            annotations.append({**head, **_entry(annotation, record, ids, margin)})
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _entry(annotation: Annotation, record: Record, ids: dict[str, int], margin: float) -> dict[str, Any]:
    """Return an annotation in COCO's format, with further fields."""
    entry: dict[str, Any] = {"category_id": _id(annotation, record, ids), **msgspec.to_builtins(annotation)}
    entry |= {"bbox": expanded_box(annotation, record, margin), "visible_bbox": annotation.bbox, "iscrowd": 0}
    outlines, runs, _ = (entry.pop(key, None) for key in ("polygons", "rle", "category"))
    if outlines or runs:
        size = (record.height, record.width)
        entry["segmentation"] = outlines or {"size": size, "counts": runs}
    return entry


def yolo(record: Record, names: Sequence[str], *, margin: float = 0.0, outlines: bool = False) -> str:
    """Return the lines of a YOLO label file; classes count from 0, lengths are shares of the image.

    A line has class, centre x, centre y, width and height of a box. With `outlines`, a line has the class and
    the x and y of an outline, one line per connected piece.
    """
    ids = {name: number for number, name in enumerate(names)}
    size = (record.width, record.height)
    lines = []
    for annotation in record.annotations:
        x, y, w, h = expanded_box(annotation, record, margin)
        shapes: Iterable[Sequence[float]] = [(x + w / 2, y + h / 2, w, h)]
        if outlines:
            shapes = annotation.polygons or masks.polygons(mask_of(annotation, record))
        for shape in shapes:
            shares = (f"{value / size[i % 2]:.6f}" for i, value in enumerate(shape))
            lines.append(f"{_id(annotation, record, ids)} {' '.join(shares)}\n")
    return "".join(lines)


def mask_images(
    record: Record, names: Sequence[str], kind: MaskKind
) -> Iterator[tuple[str, NDArray[np.uint8] | NDArray[np.uint16]]]:
    """Yield (folder, image) for the masks of an image; the background is 0.

    colour: RGB, one colour per category.
    class: id of the category, 8 bits (16 beyond 255 categories).
    instance: position of the annotation in the record, from 1, 16 bits.
    onehot: a folder per category, 255 inside the masks.

    Except for onehot, flaws cover objects.
    """
    ids = {name: number for number, name in enumerate(names, start=1)}
    shape = (record.height, record.width)
    if kind == "onehot":
        for name in names:
            layer = np.zeros(shape, np.uint8)
            for annotation in record.annotations:
                if annotation.category == name:
                    layer[mask_of(annotation, record)] = 255
            yield f"onehot/{name.replace('/', '_')}", layer
        return
    values = np.zeros(shape, np.uint16)
    order = sorted(enumerate(record.annotations, start=1), key=lambda item: (item[1].flaw > 0, -item[1].area))
    for place, annotation in order:
        values[mask_of(annotation, record)] = place if kind == "instance" else _id(annotation, record, ids)
    if kind == "instance":
        yield kind, values
    elif kind == "class":
        yield kind, values.astype(np.uint8) if len(names) < 256 else values
    else:
        black = np.zeros((1, 3), np.uint8)
        yield kind, np.concatenate([black, masks.colours(len(names))])[values]


def mask_of(annotation: Annotation, record: Record) -> masks.Mask:
    """Return the mask (h, w) of an annotation; raise DatasetError if the dataset has no masks."""
    if not annotation.rle:
        raise DatasetError(
            f"image {record.index} has no masks; expected labels.masks = 'rle' or 'polygon' in the recipe: "
            "set it and render into another folder"
        )
    return masks.decode(annotation.rle, record.height, record.width)


def _id(annotation: Annotation, record: Record, ids: dict[str, int]) -> int:
    if annotation.category not in ids:
        raise DatasetError(
            f"image {record.index} has the category {annotation.category!r}; "
            f"expected one of {', '.join(ids)}: remove its record and run again"
        )
    return ids[annotation.category]
