"""Read a COCO file into a labelled set, with a sentence for each entry that was not taken as it stands."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from render.coco.annotations import AnnotationReader, Region
from render.coco.pictures import read_pictures
from render.coco.problems import Problems, short_repr, shown, summarise
from render.coco.structures import (
    DUPLICATES,
    FloatArray,
    Id,
    IgnoreRegions,
    IntArray,
    LabelledSet,
    Picture,
    identifier,
)
from render.core.errors import DatasetError
from render.core.files import read_regular

#: The largest file of COCO 2017 has 470 MB.
MAX_BYTES = 2 << 30
LISTS = ("images", "annotations", "categories")

#: Attributes of an annotation without any.
_NO_WORDS: Mapping[str, str] = MappingProxyType({})


def read_coco(path: Path) -> LabelledSet:
    """Read a COCO file, or `annotations.json` of a dataset folder.

    docs/inputs.md, "COCO files", says what is accepted, joined, converted, ignored and refused. Image files
    are searched beside the COCO file and in `images/`, then by the tail of their paths.
    Raises DatasetError for what is no COCO file, and where no entry of `images` can be read.
    """
    file = path / "annotations.json" if path.is_dir() else path
    name = path.resolve().name if path.is_dir() else path.stem
    return parse_coco(file, load_coco(file), name)


def load_coco(file: Path) -> dict[str, Any]:
    """Return the content of a COCO file in UTF-8 (with or without a mark), UTF-16 or UTF-32.

    Raises DatasetError for what cannot be read, is no JSON, or lacks one of the three lists.
    """
    try:
        data = _parse_json(read_regular(file, MAX_BYTES))
    except FileNotFoundError:
        raise DatasetError(
            f"{file}: no such file; expected a COCO JSON file or a rendered dataset: python -m render make"
        ) from None
    except (OSError, UnicodeDecodeError, RecursionError, MemoryError, ValueError) as error:
        raise DatasetError(
            f"{file}: cannot be read as JSON, {_reason(error)}; expected a COCO JSON file"
        ) from None
    lists = "expected the lists images, annotations and categories"
    if not isinstance(data, dict):
        raise DatasetError(f"{file}: expected a COCO object, got a {type(data).__name__}: {lists}")
    missing = [key for key in LISTS if not isinstance(data.get(key), list)]
    if missing:
        keys = short_repr([key for key in data if key != DUPLICATES])
        raise DatasetError(
            f"{file}: expected COCO, got no list of {', '.join(missing)} among {keys}: {lists}. "
            "Export it as COCO JSON"
        )
    twice = [key for key in data.get(DUPLICATES, ()) if key in LISTS]
    if twice:
        raise DatasetError(f"{file}: has {', '.join(twice)} twice, with different content; keep one of them")
    return data


def parse_coco(file: Path, data: Mapping[str, Any], name: str = "") -> LabelledSet:
    """Convert what `load_coco` returned; raises as `read_coco` does."""
    try:
        return _labelled_set(file, data, name or file.stem)
    except RecursionError:
        raise DatasetError(f"{file}: is nested too deeply; expected a COCO JSON file") from None


def _parse_json(data: bytes) -> Any:
    try:
        return json.loads(data, object_pairs_hook=_object)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # Python converts no number of thousands of digits
        return json.loads(data, object_pairs_hook=_object, parse_int=_int)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; keys that it has twice with different values are listed under DUPLICATES."""
    result = dict(pairs)
    if len(result) < len(pairs):
        twice = sorted({key for key, value in pairs if result[key] != value})
        if twice:
            result[DUPLICATES] = twice
    return result


def _int(digits: str) -> float | int:
    return int(digits) if len(digits) < 300 else math.inf


def _reason(error: Exception) -> str:
    match error:
        case OSError():
            return error.strerror or str(error)
        case UnicodeDecodeError():
            return f"its text is neither UTF-8 nor UTF-16 ({error.reason} at byte {error.start})"
        case RecursionError():
            return "it is nested too deeply"
        case MemoryError():
            return "it does not fit into the memory"
    return f"it is not valid JSON ({error})"


def _labelled_set(file: Path, data: Mapping[str, Any], name: str) -> LabelledSet:
    problems = Problems()
    categories = _read_categories(data["categories"], problems)
    images = read_pictures(file, data["images"], problems)
    if data["images"] and not images.pictures:
        raise DatasetError(
            f"{file}: not one of its {len(data['images'])} images can be read:{summarise(problems)}"
        )
    reader = AnnotationReader(images, categories, problems)
    regions = reader.read(data["annotations"])
    positions = _usable(images.pictures, reader, {region.picture for region in regions}, problems)
    if regions and all(region.ignored for region in regions):
        what = "are ignore regions (iscrowd or ignore is 1): no object is left"
        problems.add("all annotations", what)
    names = tuple(dict.fromkeys(name for name in categories.values() if name is not None))
    objects = [region for region in regions if not region.ignored]
    ignored = [region for region in regions if region.ignored]
    return LabelledSet(
        name,
        names,
        tuple(images.pictures[i] for i in positions),
        *_arrays(objects, positions, names),
        tuple(region.outline for region in objects),
        IgnoreRegions(*_arrays(ignored, positions, names), tuple(region.row for region in ignored)),
        tuple(problems),
        tuple(region.row for region in objects),
        tuple(attributes_of(data["annotations"][region.row]) for region in objects),
    )


def attributes_of(annotation: Mapping[str, Any]) -> Mapping[str, str]:
    """Return words about an annotation by name: `attributes` of CVAT, and the `state` that a render knows.

    Texts, flags and whole numbers are words.
    """
    found = _NO_WORDS
    for key in ("attributes", "state"):
        words = annotation.get(key)
        if isinstance(words, dict) and words:
            found = {**found, **{n: str(v) for n, v in words.items() if isinstance(v, str | int)}}
    return found


def _read_categories(entries: Sequence[Any], problems: Problems) -> Mapping[Id, str | None]:
    """Return the name of each id, None where it is ambiguous; add to `problems` what is wrong."""
    names: dict[Id, str | None] = {}
    ids: dict[str, Id] = {}
    for position, entry in enumerate(entries, start=1):
        where = f"category entry {position}"
        if not isinstance(entry, dict):
            problems.add(where, f"needs id and name; got {shown(entry)}")
            continue
        id_, name = identifier(entry.get("id")), entry.get("name")
        if id_ is None:
            problems.add(where, f"id must be a number or a text, got {shown(entry.get('id'))}")
        elif not isinstance(name, str) or not _is_name(name) or {"id", "name"} & {*entry.get(DUPLICATES, ())}:
            what = f"needs one name, a text; got {shown(name)}: its boxes are left out"
            problems.add(where, what)
            names[id_] = None
        elif id_ in names and names[id_] != name:
            what = f"id {shown(id_)} is that of {shown(names[id_])} too: the boxes of both are left out"
            problems.add(f"category {shown(name)}", what)
            names[id_] = None
        else:
            names[id_] = name
            if ids.setdefault(name, id_) != id_:
                what = f"has the ids {shown(ids[name])} and {shown(id_)}: joined"
                problems.add(f"category {shown(name)}", what)
    return names


def _is_name(name: str) -> bool:
    """Whether a text can be written to a file."""
    return bool(name) and not any("\ud800" <= letter <= "\udfff" for letter in name)


def _usable(
    pictures: Sequence[Picture], reader: AnnotationReader, labelled: set[int], problems: Problems
) -> dict[int, int]:
    """Return new positions of images by old ones, without images that only look empty.

    Such an image has annotations of which all were refused; or it has none, and some annotations of the file
    belong to no image.
    """
    positions: dict[int, int] = {}
    for i, picture in enumerate(pictures):
        if i in labelled or not (i in reader.labelled or reader.of_no_image):
            positions[i] = len(positions)
            continue
        what = "none of its annotations can be used: left out"
        if i not in reader.labelled:
            what = f"has no annotation, but {reader.of_no_image} of the file belong to none of its images"
            what += ": left out"
        problems.add(f"image {shown(picture.name)}", what)
    return positions


def _arrays(
    regions: Sequence[Region], positions: Mapping[int, int], names: Sequence[str]
) -> tuple[IntArray, IntArray, FloatArray]:
    index = {name: i for i, name in enumerate(names)}
    return (
        np.array([positions[region.picture] for region in regions], dtype=np.int64),
        np.array([index[region.category] for region in regions], dtype=np.int64),
        np.array([region.bbox for region in regions], dtype=np.float64).reshape(-1, 4),
    )
