"""Corrupted copies of a labelled set, which simulate a change of the camera station. Boxes stay the same.

The levels of blur, noise, light and compression are those of Hendrycks & Dietterich 2019 ("Benchmarking
Neural Network Robustness to Common Corruptions"), for images of 480 px and more. Those of colour are not
from that paper.
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
_REFERENCE_PX = 480  # shorter side of the images that radii are given for; radii shrink for smaller images


def write_corrupted(
    coco: Path,
    out: Path,
    kinds: Sequence[str],
    level: int,
    on_progress: Progress | None = None,
    on_report: Callable[[str], None] | None = None,
) -> dict[str, Path]:
    """Write `out/<kind>-<level>/` with images and coco.json for every kind. Return the COCO files by kind.

    The files hold the readable part of `coco` and its images. `on_report(text)` gets the counts and the
    unreadable parts. Random numbers depend only on the name of the image and the kind.
    Raises ConfigError for an unknown kind or level, DataError for a set that cannot be read.
    """
    unknown = [kind for kind in kinds if kind not in CORRUPTIONS]
    if unknown or level not in LEVELS:
        raise ConfigError(
            f"expected kinds of {', '.join(CORRUPTIONS)} and a level of 1 to 5, "
            f"got {', '.join(unknown) or kinds} at {level}"
        )
    data, usable = _readable(coco, on_report)
    paths = {i: picture.path for i, picture in enumerate(usable.pictures) if picture.path is not None}
    written, done = {}, 0
    unread: dict[int, Problem] = {}
    for kind in kinds:
        folder = out / f"{kind}-{level}"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        names = {}
        for place, (index, path) in enumerate(paths.items()):
            try:
                if index not in unread:
                    names[index] = corrupted_copy(path, folder / "images", kind, level, place).name
            except DataError as error:
                reason = str(error).removeprefix(f"{path} ")
                unread[index] = Problem(f"image {path.name}", f"{reason}: left out")
            done += 1
            if on_progress:
                on_progress(done, len(kinds) * len(paths))
        if not names:
            raise DataError(f"{listed([*unread.values()], coco.name)}{coco} lists no readable image")
        written[kind] = folder / "coco.json"
        write_json(written[kind], _content(data, usable, names))
    if unread and on_report:
        on_report(listed([*unread.values()], coco.name).rstrip())
    return written


def corrupt(picture: Picture, kind: str, level: int, rng: Generator) -> Picture:
    """Return a corrupted image (h, w, 3) BGR."""
    function, amounts = CORRUPTIONS[kind]
    return np.clip(np.rint(function(picture, amounts[level - 1], rng)), 0, 255).astype(np.uint8)


def _readable(coco: Path, on_report: Callable[[str], None] | None) -> tuple[dict[str, Any], LabelledSet]:
    """Return the content of a COCO file, and its usable part."""
    try:
        data = load_coco(coco)
        usable = parse_coco(coco, data)
    except DatasetError as error:
        raise DataError(str(error)) from None
    problems = listed(usable.problems, coco.name)
    if on_report:
        counts = count_phrase(len(usable.pictures), len(usable.bbox), usable.empty, len(usable.ignored.bbox))
        on_report(f"{coco.name}: {counts}")
    if all(picture.path is None for picture in usable.pictures):
        raise DataError(
            f"{problems}{coco} lists no image that exists: expected the images beside the file, or in images/"
        )
    if problems and on_report:
        on_report(problems.rstrip())
    return data, usable


def _content(data: dict[str, Any], usable: LabelledSet, names: Mapping[int, str]) -> dict[str, Any]:
    """Return COCO content for the images with these file names: clipped axis-aligned boxes, ids from 1."""
    ids = {index: number for number, index in enumerate(names, start=1)}
    images = []
    for index, number in ids.items():
        picture = usable.pictures[index]
        size = {"width": picture.width, "height": picture.height}
        images.append({"id": number, "file_name": names[index], **size})
    annotations: dict[int, dict[str, Any]] = {}
    for part, crowd in ((usable, 0), (usable.ignored, 1)):
        rows = zip(part.rows, part.image.tolist(), part.category.tolist(), part.bbox.tolist(), strict=True)
        for row, image, category, bbox in rows:
            if image not in ids:
                continue
            annotation = data["annotations"][row]
            changed = {"image_id": ids[image], "category_id": category + 1, "bbox": bbox, "iscrowd": crowd}
            if isinstance(annotation.get("attributes"), dict):  # the box is axis-aligned now
                changed["attributes"] = {k: v for k, v in annotation["attributes"].items() if k != "rotation"}
            annotations[row] = {**annotation, **changed}
    return {
        **data,
        "images": images,
        "annotations": [annotations[row] for row in sorted(annotations)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(usable.categories, start=1)],
    }


def corrupted_copy(path: Path, folder: Path, kind: str, level: int, place: int) -> Path:
    """Write a corrupted copy of one image into a folder, with its index in the name. Return the file.

    Raises DataError for a file that is not an image.
    """
    picture = read_picture(path)
    seed = int.from_bytes(hashlib.sha256(os.fsencode(f"{kind} {path.name}")).digest()[:8], "big")
    changed = corrupt(picture, kind, level, default_rng(seed))
    name = f"{place:06d}-{path.stem}.png"
    write_atomically(folder / name, bytes(cv2.imencode(".png", changed)[1]))
    return folder / name


def _blur(picture: Picture, radius: float, rng: Generator) -> Floats:
    """Defocus with a disc of this radius in px."""
    radius = max(0.5, radius * min(1.0, min(picture.shape[:2]) / _REFERENCE_PX))
    reach = math.ceil(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return np.asarray(cv2.filter2D(picture.astype(np.float32), -1, disc / disc.sum()), np.float32)


def _noise(picture: Picture, deviation: float, rng: Generator) -> Floats:
    """Add Gaussian noise, as of a sensor."""
    return picture + np.float32(255 * deviation) * rng.standard_normal(picture.shape, dtype=np.float32)


def _darker(picture: Picture, factor: float, rng: Generator) -> Floats:
    """Reduce the light."""
    return picture.astype(np.float32) * np.float32(factor)


def _brighter(picture: Picture, added: float, rng: Generator) -> Floats:
    """Increase the light: raise the value in HSV."""
    hsv = cv2.cvtColor((picture / 255).astype(np.float32), cv2.COLOR_BGR2HSV)
    hsv[..., 2] = np.clip(hsv[..., 2] + added, 0, 1)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR) * 255, np.float32)


def _colour(picture: Picture, warmth: float, rng: Generator) -> Floats:
    """Change the colour of the light: warm or cold, at random."""
    warm = warmth if rng.uniform() < 0.5 else -warmth
    return picture.astype(np.float32) * np.array([1 - warm, 1.0, 1 + warm], np.float32)


def _compression(picture: Picture, quality: float, rng: Generator) -> Floats:
    """Encode as JPEG of low quality."""
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.float32)


#: Kind of corruption -> function, and its argument for each of `LEVELS`.
CORRUPTIONS: Mapping[str, tuple[Callable[[Picture, float, Generator], Floats], tuple[float, ...]]] = (
    MappingProxyType(
        {
            "blur": (_blur, (3, 4, 6, 8, 10)),
            "noise": (_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
            "darker": (_darker, (0.8, 0.65, 0.5, 0.38, 0.28)),
            "brighter": (_brighter, (0.1, 0.2, 0.3, 0.4, 0.5)),
            "colour": (_colour, (0.06, 0.12, 0.2, 0.3, 0.42)),
            "compression": (_compression, (25, 18, 15, 10, 7)),
        }
    )
)
