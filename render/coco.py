"""A COCO file as arrays: what `stats` measures and `preview` draws, rendered or photographed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.errors import DatasetError


@dataclass(frozen=True)
class Picture:
    """One image of the set. path: None when its file is not there.  width, height: px, as the file states."""

    name: str
    path: Path | None
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Pictures and their boxes, in parallel arrays.

    image: (n,) position in `pictures`.  category: (n,) position in `categories`.
    bbox: (n, 4) x, y, w, h in px, origin top left.  outlines: (n,) COCO segmentations, None where there is none.
    """

    name: str
    categories: tuple[str, ...]
    pictures: tuple[Picture, ...]
    image: NDArray[np.int64]
    category: NDArray[np.int64]
    bbox: NDArray[np.float64]
    outlines: tuple[Any, ...]

    def __post_init__(self) -> None:
        """Check that the arrays belong together."""
        lengths = {len(self.image), len(self.category), len(self.bbox), len(self.outlines)}
        if len(lengths) != 1 or self.bbox.shape[1:] != (4,):
            raise ValueError(f"expected n images, categories, (n, 4) boxes and outlines, got {lengths}")

    @property
    def sizes_px(self) -> NDArray[np.float64]:
        """(n, 2) width and height of the picture that each box is in."""
        sizes = np.array([(p.width, p.height) for p in self.pictures], dtype=np.float64).reshape(-1, 2)
        return sizes[self.image]


def read_coco(path: Path) -> LabelledSet:
    """Read a COCO file, or `annotations.json` of a dataset folder.

    Crowds and boxes without area are left out. Pictures are looked for beside the file and in `images/`.
    Raises DatasetError for what is no COCO file.
    """
    file = path / "annotations.json" if path.is_dir() else path
    data = _load(file)
    try:
        names = {c["id"]: str(c["name"]) for c in data["categories"]}
        places = {image["id"]: number for number, image in enumerate(data["images"])}
        pictures = tuple(_picture(file, image) for image in data["images"])
        kept = [a for a in data["annotations"] if not a.get("iscrowd") and min(a["bbox"][2:4]) > 0]
        rank = {id_: number for number, id_ in enumerate(names)}
        return LabelledSet(
            path.resolve().name if path.is_dir() else path.stem,
            tuple(names.values()),
            pictures,
            np.array([places[a["image_id"]] for a in kept], dtype=np.int64),
            np.array([rank[a["category_id"]] for a in kept], dtype=np.int64),
            np.array([a["bbox"] for a in kept], dtype=np.float64).reshape(-1, 4),
            tuple(a.get("segmentation") or None for a in kept),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(
            f"{file}: expected COCO (images, annotations, categories), got something else: "
            f"{type(error).__name__} {error}; export it as COCO JSON"
        ) from error


def _load(file: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise DatasetError(
            f"{file}: no such file; expected a COCO file or a rendered dataset: python -m render make"
        ) from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file}: cannot be read as JSON ({error}); expected a COCO file") from error
    if not isinstance(data, dict):
        raise DatasetError(f"{file}: expected a COCO object, got a {type(data).__name__}")
    return data


def _picture(file: Path, image: Mapping[str, Any]) -> Picture:
    name = str(image["file_name"])
    places = (file.parent / name, file.parent / "images" / name)
    found = next((place for place in places if place.is_file()), None)
    return Picture(name, found, int(image["width"]), int(image["height"]))
