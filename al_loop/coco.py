"""COCO JSON: read with every problem named, written exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from al_loop.boxes import Boxes
from al_loop.errors import DataError
from al_loop.files import write_json
from al_loop.outlines import area
from al_loop.samples import LabelledImage

_SHOWN = 5  # problems spelled out in one message


@dataclass(frozen=True, eq=False)
class CocoImage:
    """One image of a COCO file: where it is, its stated size in px, and its boxes."""

    path: Path
    width: int
    height: int
    boxes: Boxes


@dataclass(frozen=True)
class CocoSet:
    """What could be used of a COCO file, and a sentence for everything that could not."""

    images: list[CocoImage] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_coco(path: Path, classes: Sequence[str]) -> CocoSet:
    """Read boxes of the named classes; what cannot be used is left out and listed in `problems`.

    Boxes that stick out of the image are clipped. Left out: boxes without area, boxes of an unknown
    category, images whose file is missing. Raises DataError for a file that is no COCO JSON.
    """
    data = load_coco(path)
    names = {c.get("id"): c.get("name") for c in data["categories"] if isinstance(c, dict)}
    index = {name: i for i, name in enumerate(classes)}
    rows: dict[Any, list[tuple[list[float], int]]] = {}
    problems: list[str] = []
    sizes = {image.get("id"): image for image in data["images"]}
    for annotation in data["annotations"]:
        row = _box(annotation, sizes, names, index, problems)
        if row is not None:
            rows.setdefault(annotation["image_id"], []).append(row)
    images = []
    for image in data["images"]:
        file = find_image(path, str(image.get("file_name", "")))
        if file is None:
            problems.append(
                f"image {image.get('file_name')!r}: no such file beside {path.name} or in images/"
            )
            continue
        boxes = rows.get(image["id"], [])
        xyxy = np.asarray([b for b, _ in boxes], dtype=np.float64).reshape(-1, 4)
        labels = np.asarray([label for _, label in boxes], dtype=np.int64)
        images.append(CocoImage(file, int(image["width"]), int(image["height"]), Boxes(xyxy, labels)))
    return CocoSet(images, problems)


def missing_classes(images: Sequence[CocoImage], classes: Sequence[str]) -> list[str]:
    """Return the classes that no box of the set has."""
    seen = {int(label) for image in images for label in image.boxes.labels}
    return [name for i, name in enumerate(classes) if i not in seen]


def summarise(problems: Sequence[str]) -> str:
    """Return the first few problems as one text, and how many more there are."""
    more = f"\n  ... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "".join(f"\n  {problem}" for problem in problems[:_SHOWN]) + more


def write_coco(
    path: Path,
    labelled: Sequence[LabelledImage],
    classes: Sequence[str],
    names: Mapping[str, str] | None = None,
) -> None:
    """Write images, boxes and outlines, whole or not at all; ids count from 1.

    names: what the file is to call each image, by its id; without, it is found by its absolute path, as by a trainer.
    """
    annotations: list[dict[str, Any]] = []
    for number, item in enumerate(labelled, start=1):
        outlines = item.boxes.outlines or (None,) * len(item.boxes)
        rows = zip(item.boxes.xyxy.tolist(), item.boxes.labels.tolist(), outlines, strict=True)
        for (x1, y1, x2, y2), label, outline in rows:
            drawn = {} if outline is None else {"segmentation": outline}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1) if outline is None else area(outline),
                    "iscrowd": 0,
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


def load_coco(path: Path) -> dict[str, Any]:
    """Return a COCO file as it is; DataError for what is none."""
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): expected a COCO JSON file") from None
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}): expected a COCO JSON file") from None
    if isinstance(data, dict) and all(
        isinstance(data.get(k), list) for k in ("images", "annotations", "categories")
    ):
        bad = [i for i in data["images"] if not _is_image(i)]
        if not bad:
            return data
        raise DataError(f"{path}: every image needs id, file_name, width and height; got {bad[0]!r:.200}")
    raise DataError(f"{path} is not COCO: expected the lists images, annotations and categories")


def _is_image(image: object) -> bool:
    if not isinstance(image, dict) or "id" not in image or not isinstance(image.get("file_name"), str):
        return False
    return all(isinstance(image.get(k), int) and image[k] > 0 for k in ("width", "height"))


def _box(
    annotation: dict[str, Any],
    images: dict[Any, Any],
    names: dict[Any, Any],
    index: dict[str, int],
    problems: list[str],
) -> tuple[list[float], int] | None:
    where = f"annotation {annotation.get('id')}"
    image = images.get(annotation.get("image_id"))
    if image is None:
        problems.append(f"{where}: image_id {annotation.get('image_id')!r} is not in images")
        return None
    where += f" of {image['file_name']}"
    name = names.get(annotation.get("category_id"))
    if name not in index:
        known = ", ".join(index)
        problems.append(f"{where}: category {name or annotation.get('category_id')!r} is none of {known}")
        return None
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not np.isfinite(np.asarray(box, dtype=float)).all():
        problems.append(f"{where}: bbox must be four finite numbers [x, y, width, height], got {box!r}")
        return None
    x, y, w, h = map(float, box)
    clipped = [max(x, 0.0), max(y, 0.0), min(x + w, image["width"]), min(y + h, image["height"])]
    if w <= 0 or h <= 0:
        problems.append(f"{where}: box {box} has no area")
        return None
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        problems.append(f"{where}: box {box} lies outside the {image['width']}x{image['height']} image")
        return None
    if clipped != [x, y, x + w, y + h] and max(-x, -y, x + w - image["width"], y + h - image["height"]) > 1:
        problems.append(
            f"{where}: box {box} sticks out of the {image['width']}x{image['height']} image; clipped"
        )
    return clipped, index[str(name)]


def find_image(annotation_file: Path, name: str) -> Path | None:
    """Return the picture that a COCO file names, beside it or in images/ there; None where it is not."""
    for folder in (annotation_file.parent, annotation_file.parent / "images"):
        if name and (folder / name).is_file():
            return folder / name
    return None
