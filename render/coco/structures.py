"""A COCO file as arrays: what is measured, drawn, trained and evaluated on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Picture:
    """One image of the set. path: None when its file is not there.  width, height: px, as the file states.

    image_sha256: the id that al-loop has given the image, in a file that it has written.
    """

    name: str
    path: Path | None
    width: int
    height: int
    image_sha256: str | None = None


@dataclass(frozen=True, eq=False)
class IgnoreRegions:
    """Regions (`iscrowd`, `ignore`) where objects are neither counted nor missed, in parallel arrays.

    image: (n,) position in `pictures`.  category: (n,) position in `categories`.  bbox: (n, 4) x, y, w, h in px.
    rows: positions in the file's list of annotations.
    """

    image: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    category: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    bbox: FloatArray = field(default_factory=lambda: np.zeros((0, 4), np.float64))
    rows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check that the arrays belong together."""
        _check_lengths(self.bbox, len(self.image), len(self.category), len(self.rows))


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Pictures and their boxes, in parallel arrays.

    image: (n,) position in `pictures`.  category: (n,) position in `categories`.
    bbox: (n, 4) x, y, w, h in px, origin top left.  outlines: (n,) COCO segmentations, None where there is none.
    ignored: regions that are no objects.  problems: a sentence for everything that was left out, joined or converted.
    rows: (n,) positions in the file's list of annotations; empty for a set that was not read from a file.
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

    def __post_init__(self) -> None:
        """Check that the arrays belong together."""
        _check_lengths(self.bbox, len(self.image), len(self.category), len(self.outlines))

    @property
    def sizes_px(self) -> FloatArray:
        """(n, 2) width and height of the picture that each box is in."""
        sizes = np.array([(p.width, p.height) for p in self.pictures], dtype=np.float64).reshape(-1, 2)
        return sizes[self.image]

    @property
    def empty(self) -> int:
        """How many pictures have no box."""
        return len(self.pictures) - len(np.unique(self.image))


def _check_lengths(bbox: FloatArray, *lengths: int) -> None:
    if {*lengths, len(bbox)} != {len(bbox)} or bbox.shape[1:] != (4,):
        raise ValueError(f"expected arrays of one length and (n, 4) boxes, got {lengths} and {bbox.shape}")
