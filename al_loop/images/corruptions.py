"""Corrupted copies of a labelled set, as after a change of the station. Boxes stay the same.

The levels of blur, noise, light and compression are those of Hendrycks & Dietterich 2019 ("Benchmarking
Neural Network Robustness to Common Corruptions"), for pictures of 480 px and more; colour is ours.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from al_loop.core.console import Progress
from al_loop.core.errors import ConfigError, DataError
from al_loop.core.files import write_atomically, write_json
from al_loop.images.coco import Problem, listed
from al_loop.images.decode import read_picture
from al_loop.images.labelled_sets import count_phrase
from render.coco import LabelledSet, load_coco, parse_coco
from render.core.errors import DatasetError

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
LEVELS = (1, 2, 3, 4, 5)
_REFERENCE_PX = 480  # lengths of the levels are for pictures whose shorter side is this long, at least

_BLUR_RADIUS = (3, 4, 6, 8, 10)
_NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)
_DARKER = (0.8, 0.65, 0.5, 0.38, 0.28)
_BRIGHTER = (0.1, 0.2, 0.3, 0.4, 0.5)
_WARMTH = (0.06, 0.12, 0.2, 0.3, 0.42)
_QUALITY = (25, 18, 15, 10, 7)


def write_corrupted(
    coco: Path,
    out: Path,
    kinds: Sequence[str],
    level: int,
    on_progress: Progress | None = None,
    on_report: Callable[[str], None] | None = None,
) -> dict[str, Path]:
    """Write `out/<kind>-<level>/` with pictures and coco.json for every kind; returns the COCO files by kind.

    The files hold what could be read of `coco` and its pictures; `on_report(text)` is called with how many
    images are empty, and with what could not be read. What is random depends on the picture and the kind
    alone. Raises ConfigError for a kind or level there is not, DataError for a set that cannot be read.
    """
    unknown = [kind for kind in kinds if kind not in CORRUPTIONS]
    if unknown or level not in LEVELS:
        raise ConfigError(
            f"expected kinds of {', '.join(CORRUPTIONS)} and a level of 1 to 5, "
            f"got {', '.join(unknown) or kinds} at {level}"
        )
    data, paths = _readable(coco, on_report)
    written, total = {}, len(kinds) * len(paths)
    unread: dict[int, Problem] = {}
    for number, kind in enumerate(kinds):
        folder = out / f"{kind}-{level}"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        names = {}
        for place, path in enumerate(paths):
            try:
                if place not in unread:
                    names[place] = corrupted_copy(path, folder / "images", kind, level, place).name
            except DataError as error:
                reason = str(error).removeprefix(f"{path} ")
                unread[place] = Problem(f"image {path.name}", f"{reason}: left out")
            if on_progress:
                on_progress(number * len(paths) + place + 1, total)
        if not names:
            raise DataError(
                f"{listed([*unread.values()], coco.name)}{coco} names no picture that can be read"
            )
        written[kind] = folder / "coco.json"
        write_json(written[kind], _named(data, names))
    if unread and on_report:
        on_report(listed([*unread.values()], coco.name).rstrip())
    return written


def _named(data: dict[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    """Return the COCO content with new file names; images without one are dropped."""
    images = [{**image, "file_name": names[i]} for i, image in enumerate(data["images"]) if i in names]
    annotations = [annotation for annotation in data["annotations"] if annotation["image_id"] - 1 in names]
    return {**data, "images": images, "annotations": annotations}


def corrupt(picture: Picture, kind: str, level: int, rng: Generator) -> Picture:
    """Return a corrupted image (h, w, 3) BGR."""
    changed = CORRUPTIONS[kind](picture, level, rng)
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def _readable(coco: Path, on_report: Callable[[str], None] | None) -> tuple[dict[str, Any], list[Path]]:
    """Return the usable part of a COCO file, and the paths of its images in the order of `images`."""
    try:
        data = load_coco(coco)
        usable = parse_coco(coco, data)
    except DatasetError as error:
        raise DataError(str(error)) from None
    problems = listed(usable.problems, coco.name)
    if on_report:
        counts = count_phrase(len(usable.pictures), len(usable.bbox), usable.empty, len(usable.ignored.bbox))
        on_report(f"{coco.name}: {counts}")
    paths = [picture.path for picture in usable.pictures if picture.path is not None]
    if not paths:
        raise DataError(
            f"{problems}{coco} names no picture that is there: expected them beside it, or in images/"
        )
    if problems and on_report:
        on_report(problems.rstrip())
    return _as_read(data, usable), paths


def _as_read(data: dict[str, Any], usable: LabelledSet) -> dict[str, Any]:
    """Return COCO content of the usable entries: joined, boxes upright and clipped, ids from 1."""
    ids = {
        i: n for n, i in enumerate((i for i, p in enumerate(usable.pictures) if p.path is not None), start=1)
    }
    images = [
        {"id": n, "width": usable.pictures[i].width, "height": usable.pictures[i].height}
        for i, n in ids.items()
    ]
    annotations = []
    for part, crowd in ((usable, 0), (usable.ignored, 1)):
        rows = zip(part.rows, part.image.tolist(), part.category.tolist(), part.bbox.tolist(), strict=True)
        for row, image, category, bbox in rows:
            if image not in ids:
                continue
            annotation = data["annotations"][row]
            changed = {"image_id": ids[image], "category_id": category + 1, "bbox": bbox, "iscrowd": crowd}
            if isinstance(annotation.get("attributes"), dict):  # the box is upright now
                changed["attributes"] = {k: v for k, v in annotation["attributes"].items() if k != "rotation"}
            annotations.append((row, {**annotation, **changed}))
    annotations.sort(key=lambda pair: pair[0])
    categories = [{"id": i, "name": name} for i, name in enumerate(usable.categories, start=1)]
    return {
        **data,
        "images": images,
        "annotations": [annotation for _, annotation in annotations],
        "categories": categories,
    }


def corrupted_copy(path: Path, folder: Path, kind: str, level: int, place: int) -> Path:
    """Write a corrupted copy of one image into a folder, with its index in the name; return the file.

    Raises DataError for a file that is no image.
    """
    picture = read_picture(path)
    seed = int.from_bytes(hashlib.sha256(os.fsencode(f"{kind} {path.name}")).digest()[:8], "big")
    changed = corrupt(picture, kind, level, default_rng(seed))
    name = f"{place:06d}-{path.stem}.png"
    write_atomically(folder / name, bytes(cv2.imencode(".png", changed)[1]))
    return folder / name


def _blur(picture: Picture, level: int, rng: Generator) -> Floats:
    """Out of focus: a disc."""
    radius = _scaled(_BLUR_RADIUS[level - 1], picture)
    reach = math.ceil(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return np.asarray(cv2.filter2D(picture.astype(np.float32), -1, disc / disc.sum()), np.float32)


def _noise(picture: Picture, level: int, rng: Generator) -> Floats:
    """Gaussian noise of the sensor."""
    grain = rng.standard_normal(picture.shape, dtype=np.float32)
    return picture + np.float32(255 * _NOISE[level - 1]) * grain


def _darker(picture: Picture, level: int, rng: Generator) -> Floats:
    """Less light."""
    return picture.astype(np.float32) * np.float32(_DARKER[level - 1])


def _brighter(picture: Picture, level: int, rng: Generator) -> Floats:
    """More light, as HSV's value goes up."""
    hsv = cv2.cvtColor((picture / 255).astype(np.float32), cv2.COLOR_BGR2HSV)
    hsv[..., 2] = np.clip(hsv[..., 2] + _BRIGHTER[level - 1], 0, 1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR) * 255, np.float32)


def _colour(picture: Picture, level: int, rng: Generator) -> Floats:
    """Light of another colour: warm or cold, at random."""
    warm = _WARMTH[level - 1] * (1 if rng.uniform() < 0.5 else -1)
    return picture.astype(np.float32) * np.array([1 - warm, 1.0, 1 + warm], np.float32)


def _compression(picture: Picture, level: int, rng: Generator) -> Floats:
    """JPEG of low quality."""
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY[level - 1]])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.float32)


def _scaled(length: float, picture: Picture) -> float:
    """Scale a length in px to a small image."""
    return max(0.5, length * min(1.0, min(picture.shape[:2]) / _REFERENCE_PX))


CORRUPTIONS: Mapping[str, Callable[[Picture, int, Generator], Floats]] = MappingProxyType(
    {
        "blur": _blur,
        "noise": _noise,
        "darker": _darker,
        "brighter": _brighter,
        "colour": _colour,
        "compression": _compression,
    }
)
