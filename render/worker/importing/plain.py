"""Readers of mesh files in double precision, before Blender reads them in single precision.

Blender stores a vertex in float32: 40 km from the origin its steps are 4 mm. Such a file is rewritten around
    the origin. Errors name the file's own line, row or count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.core.file_types import LIMIT
from render.core.files import read_regular

FloatArray = NDArray[np.float64]

#: Farther from the origin than this many times its longest side, a mesh is moved there. Nearer, float32 keeps
#: every corner within 5e-7 of that side, and the mesh stays bit for bit what it was.
FAR = 8.0
#: Numbers of a file in steps larger than this share of the longest side are warned of ...
COARSE = 1e-4
#: ... and refused above this one: what is left is no shape.
LOST = 0.05
#: More digits after the point than this are not counted.
MOST_DECIMALS = 12
_MARK = b"\xef\xbb\xbf"


class RefusedError(ValueError):
    """A mesh file that cannot be used: what was expected, and what came, with what to do about it."""

    def __init__(self, expected: str, got: str) -> None:
        """Keep both parts for the caller's sentence."""
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got = expected, got


@dataclass(frozen=True, eq=False)
class Plain:
    """Content of a mesh file.

    points: (n, 3) that faces use, in double precision.
    step: the least difference that the file's numbers can express there.
    written: offset (3,) -> bytes of the file with the offset subtracted, without what Blender must not see.
    copied: whether Blender must read such a copy even if nothing is moved.
    remarks: sentences about ignored content.
    companions: existing files that it refers to.
    """

    points: FloatArray
    step: float
    written: Callable[[FloatArray], bytes]
    copied: bool = False
    remarks: tuple[str, ...] = ()
    companions: tuple[Path, ...] = ()

    def offset(self) -> FloatArray | None:
        """What to take off every vertex, (3,); None where the mesh is near enough to the origin."""
        return middle(self.points) if is_far(self.points) else None


def is_far(points: FloatArray) -> bool:
    """Whether float32 would blur points (n, 3) noticeably."""
    return bool(len(points)) and float(np.abs(points).max()) > FAR * float(np.ptp(points, axis=0).max())


def middle(points: FloatArray) -> FloatArray:
    """(3,) middle of the bounding box."""
    low, high = points.min(axis=0), points.max(axis=0)
    return np.asarray(low + (high - low) / 2)


def steps_of(
    points: FloatArray, step: float, *, text: bool = False, what: str = "numbers"
) -> tuple[str, ...]:
    """Remark that a file's numbers are coarse for its size; raises RefusedError if no shape is left.

    text: whether they are decimal text: a part may be modelled in whole numbers then, and nothing is refused.
    what: subject of the remark.
    """
    size = float(np.ptp(points, axis=0).max()) if len(points) else 0.0
    if not size or step <= COARSE * size:
        return ()
    far = float(np.abs(points).max())
    message = f"{what} in steps of {step:.3g} on a part that is {size:.3g} long, {far:.3g} from the origin"
    if step > LOST * size and not text:
        raise RefusedError("a shape", f"{message}: detail is lost; {_MOVE}")
    return (f"{message}: detail {'may be' if text else 'is'} lost; {_MOVE}",)


_MOVE = "move the part to the origin in the CAD program and export it again"


def float32_step(points: FloatArray) -> float:
    """Distance of neighbouring float32 numbers at the farthest of points (n, 3)."""
    return float(np.spacing(np.float32(np.abs(points).max()))) if len(points) else 0.0


def decimals(word: bytes) -> int:
    """Digits after the point of a number in a text; of one with an exponent, as if it were written out."""
    digits, _, power = word.lower().partition(b"e")
    return max(0, len(digits.partition(b".")[2]) - (int(power) if power else 0))


def decimal_step(digits: int) -> float:
    """Least difference of numbers with so many decimals; 0 if double precision ends first."""
    return float(10.0**-digits) if digits < MOST_DECIMALS else 0.0


def finite(points: FloatArray, where: Callable[[int], str], what: str = "three finite numbers") -> None:
    """Refuse nan and inf; where(i): how to call row i of the file."""
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        number = int(bad.argmax())
        message = " ".join(f"{value:g}" for value in points[number])
        raise RefusedError(what, f"{message} {where(number)}; correct it or export the file again")


def whole(path: Path) -> tuple[bytes, bool]:
    """The bytes of a mesh file without a byte order mark, and whether it had one."""
    data = read_regular(path, LIMIT)
    text = data.removeprefix(_MARK)
    return text, len(text) < len(data)


def number_fault(words: list[bytes]) -> str:
    """What is wrong with words that are no numbers."""
    text = b" ".join(words).decode("utf-8", "replace")[:60]
    if any(b"," in word for word in words):
        return f"{text!r}, which looks like decimal commas; export the file with decimal points"
    return f"{text!r}; correct it or export the file again"
