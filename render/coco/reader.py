"""A COCO file to a labelled set, with a sentence for everything that could not be taken as it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from render.coco.annotations import Reader, Region
from render.coco.categories import read_categories
from render.coco.loading import load_coco
from render.coco.pictures import read_pictures
from render.coco.problems import Problem, shown, summarise
from render.coco.structures import FloatArray, IgnoreRegions, IntArray, LabelledSet, Picture
from render.core.errors import DatasetError


def read_coco(path: Path) -> LabelledSet:
    """Read a COCO file, or `annotations.json` of a dataset folder.

    docs/inputs.md, "COCO files", says what is accepted, joined, converted, ignored and refused. Pictures are looked for
    beside the file and in `images/`, then by the tail of their paths. Raises DatasetError for what is no COCO file, and
    where not one entry of `images` can be read.
    """
    file = path / "annotations.json" if path.is_dir() else path
    name = path.resolve().name if path.is_dir() else path.stem
    return parse_coco(file, load_coco(file), name)


def parse_coco(file: Path, data: Mapping[str, Any], name: str = "") -> LabelledSet:
    """Return what `load_coco` has read as arrays; raises as `read_coco` does."""
    try:
        return _parsed(file, data, name or file.stem)
    except RecursionError:
        raise DatasetError(f"{file}: is nested too deeply; expected a COCO JSON file") from None


def _parsed(file: Path, data: Mapping[str, Any], name: str) -> LabelledSet:
    problems: list[str] = []
    categories = read_categories(data["categories"], problems)
    listed = read_pictures(file, data["images"], problems)
    if data["images"] and not listed.pictures:
        raise DatasetError(
            f"{file}: not one of its {len(data['images'])} images can be read:{summarise(problems)}"
        )
    reader = Reader(listed, categories, problems)
    regions = reader.read(data["annotations"])
    kept = _kept(listed.pictures, reader, {region.picture for region in regions}, problems)
    if regions and all(region.ignored for region in regions):
        problems.append(
            Problem("all annotations", "are ignore regions (iscrowd or ignore is 1): no object is left")
        )
    names = tuple(dict.fromkeys(name for name in categories.values() if name is not None))
    objects = [region for region in regions if not region.ignored]
    ignored = [region for region in regions if region.ignored]
    return LabelledSet(
        name,
        names,
        tuple(listed.pictures[i] for i in kept),
        *_arrays(objects, kept, names),
        tuple(region.outline for region in objects),
        IgnoreRegions(*_arrays(ignored, kept, names), tuple(region.row for region in ignored)),
        tuple(problems),
        tuple(region.row for region in objects),
    )


def _kept(pictures: Sequence[Picture], reader: Reader, used: set[int], problems: list[str]) -> dict[int, int]:
    """New positions by old ones; left out is a picture that looks empty and may not be.

    That is one whose annotations were all refused, and one without any where some belong to no image of the file.
    """
    kept = []
    for i, picture in enumerate(pictures):
        if i in used or not (i in reader.labelled or reader.of_no_image):
            kept.append(i)
            continue
        what = "none of its annotations can be used: left out"
        if i not in reader.labelled:
            what = f"has no annotation, but {reader.of_no_image} of the file belong to none of its images: left out"
        problems.append(Problem(f"image {shown(picture.name)}", what))
    return {old: new for new, old in enumerate(kept)}


def _arrays(
    regions: Sequence[Region], kept: Mapping[int, int], names: Sequence[str]
) -> tuple[IntArray, IntArray, FloatArray]:
    rank = {name: i for i, name in enumerate(names)}
    return (
        np.array([kept[region.picture] for region in regions], dtype=np.int64),
        np.array([rank[region.category] for region in regions], dtype=np.int64),
        np.array([region.bbox for region in regions], dtype=np.float64).reshape(-1, 4),
    )
