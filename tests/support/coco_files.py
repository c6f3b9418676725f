"""COCO files of two photographs, and what the reader makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from support.factories import draw

from render.coco import IgnoreRegions, LabelledSet, read_coco

Data = dict[str, Any]
#: Boxes of a.png and of b.png, xyxy.
A = [[10.0, 10.0, 32.0, 22.0], [60.0, 20.0, 72.0, 42.0]]
B = [[5.0, 30.0, 27.0, 42.0], [70.0, 8.0, 82.0, 30.0]]


def coco(**changed: Any) -> Data:
    """Two photographs of 96x64 px, a bolt and a nut in each."""
    images = [
        {"id": i, "file_name": f"{name}.png", "width": 96, "height": 64} for i, name in ((1, "a"), (2, "b"))
    ]
    boxes = [
        (1, 1, [10, 10, 22, 12]),
        (1, 2, [60, 20, 12, 22]),
        (2, 1, [5, 30, 22, 12]),
        (2, 2, [70, 8, 12, 22]),
    ]
    annotations = [
        {"id": n, "image_id": image, "category_id": category, "bbox": bbox, "iscrowd": 0}
        for n, (image, category, bbox) in enumerate(boxes, start=1)
    ]
    categories = [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}]
    return {"images": images, "annotations": annotations, "categories": categories, **changed}


def edited(change: Callable[[Data], object]) -> Data:
    """Change what `coco` returns."""
    data = coco()
    change(data)
    return data


def written(folder: Path, data: object, *names: str, file: str = "coco.json") -> Path:
    """Write the COCO file, and pictures of 96x64 px under the names."""
    for number, name in enumerate(names or ("a.png", "b.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        draw(96, 64, [], number).save(folder / name)
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


@dataclass(frozen=True)
class ReadFile:
    """What was read.

    boxes, ignored: xyxy by the name of the image file, of images whose file exists.
    """

    boxes: dict[str, list[list[float]]]
    ignored: dict[str, list[list[float]]]
    problems: list[str]
    data: LabelledSet


def read(path: Path) -> ReadFile:
    """Read a COCO file."""
    data = read_coco(path)

    def by_name(part: LabelledSet | IgnoreRegions) -> dict[str, list[list[float]]]:
        xyxy = np.concatenate([part.bbox[:, :2], part.bbox[:, :2] + part.bbox[:, 2:]], axis=1)
        paths = {number: picture.path for number, picture in enumerate(data.pictures)}
        return {path.name: xyxy[part.image == number].tolist() for number, path in paths.items() if path}

    return ReadFile(by_name(data), by_name(data.ignored), list(data.problems), data)
