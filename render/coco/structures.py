"""A COCO file as arrays, and its loosely typed values: ids, numbers and flags."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Id = int | str

#: Key of an object that lists the keys which the object has twice, with different values.
DUPLICATES = "\0duplicates"
_DIGITS = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.0+)?", re.ASCII)
_NUMBER = re.compile(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?\s*", re.ASCII)
_LONGEST_NUMBER = 64
_FLAGS = {"": False, "0": False, "false": False, "1": True, "true": True}


@dataclass(frozen=True)
class Picture:
    """One image of the set.

    path: None where the file does not exist.
    width, height: px, as stated in the COCO file.
    image_sha256: id of the image in al-loop, in a file that al-loop wrote.
    """

    name: str
    path: Path | None
    width: int
    height: int
    image_sha256: str | None = None


@dataclass(frozen=True, eq=False)
class IgnoreRegions:
    """Regions (`iscrowd`, `ignore`) where objects are neither counted nor missed, in parallel arrays.

    image: (n,) index into `pictures`.
    category: (n,) index into `categories`.
    bbox: (n, 4) x, y, w, h in px.
    rows: indices into the file's list of annotations.
    """

    image: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    category: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    bbox: FloatArray = field(default_factory=lambda: np.zeros((0, 4), np.float64))
    rows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the lengths of the arrays."""
        _check_lengths(self.bbox, len(self.image), len(self.category), len(self.rows))


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Images and their boxes, in parallel arrays.

    image: (n,) index into `pictures`.
    category: (n,) index into `categories`.
    bbox: (n, 4) x, y, w, h in px, origin top left.
    outlines: (n,) COCO segmentations, None where there is none.
    ignored: regions that are no objects.
    problems: a sentence for each entry that was left out, joined or converted.
    rows: (n,) indices into the file's list of annotations; empty for a set that was not read from a file.
    attributes: (n,) further words of each annotation, see `render.coco.reader.attributes_of`; empty for a set
        that was not read from a file.
    """

    name: str
    categories: tuple[str, ...]
    pictures: tuple[Picture, ...]
    image: IntArray
    category: IntArray
    bbox: FloatArray
    outlines: tuple[Any, ...]
    ignored: IgnoreRegions = field(default_factory=IgnoreRegions)
    problems: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    attributes: tuple[Mapping[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Check the lengths of the arrays."""
        _check_lengths(self.bbox, len(self.image), len(self.category), len(self.outlines))

    @property
    def sizes_px(self) -> FloatArray:
        """(n, 2) width and height of each box's image."""
        sizes = np.array([(p.width, p.height) for p in self.pictures], dtype=np.float64).reshape(-1, 2)
        return sizes[self.image]

    @property
    def empty(self) -> int:
        """Number of images without a box."""
        return len(self.pictures) - len(np.unique(self.image))


def _check_lengths(bbox: FloatArray, *lengths: int) -> None:
    if {*lengths, len(bbox)} != {len(bbox)} or bbox.shape[1:] != (4,):
        raise ValueError(f"expected arrays of one length and (n, 4) boxes, got {lengths} and {bbox.shape}")


def identifier(value: object) -> Id | None:
    """Return an id such that 1, 1.0 and "1" are equal; None for what is no id."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and value:
        return int(value.partition(".")[0]) if _DIGITS.fullmatch(value) else value
    return None


def number(value: object) -> float | None:
    """Return a finite number, which may be written as text; None for anything else."""
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def flag(value: object) -> bool | None:
    """Return a flag: 0, 1, true, false, one of these as text, or missing; None for anything else."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str):
        return _FLAGS.get(value.strip().lower())
    return value == 1 if isinstance(value, int | float) and value in (0, 1) else None
