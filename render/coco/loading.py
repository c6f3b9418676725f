"""A COCO file from the disk to Python's dictionaries."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from render.coco.problems import shown
from render.core.errors import DatasetError
from render.core.files import read_regular

#: COCO 2017's largest file has 470 MB.
MAX_BYTES = 2 << 30
LISTS = ("images", "annotations", "categories")
#: Key of an object under which the names are listed that it has twice, with different values.
TWICE = "\0twice"


def load_coco(file: Path) -> dict[str, Any]:
    """Return a COCO file as it is: UTF-8, with or without a mark, UTF-16 or UTF-32.

    Raises DatasetError for what cannot be read, is no JSON, or lacks one of the three lists.
    """
    try:
        data = _parsed(read_regular(file, MAX_BYTES))
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
    lacking = [key for key in LISTS if not isinstance(data.get(key), list)]
    if lacking:
        keys = shown([key for key in data if key != TWICE])
        raise DatasetError(
            f"{file}: expected COCO, got no list of {', '.join(lacking)} among {keys}: {lists}. Export it as COCO JSON"
        )
    twice = [key for key in data.get(TWICE, ()) if key in LISTS]
    if twice:
        raise DatasetError(f"{file}: has {', '.join(twice)} twice, with different content; keep one of them")
    return data


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


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data, object_pairs_hook=_object)
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError:
        raise
    except (
        ValueError
    ):  # a number of thousands of digits, which Python does not convert: no reason to lose the rest
        return json.loads(data, object_pairs_hook=_object, parse_int=_int)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a name that stands there twice with different values is listed under TWICE."""
    made = dict(pairs)
    if len(made) < len(pairs):
        made[TWICE] = sorted({key for key, value in pairs if made[key] != value})
        if not made[TWICE]:
            del made[TWICE]
    return made


def _int(digits: str) -> float | int:
    return int(digits) if len(digits) < 300 else math.inf
