"""Checked numbers of mesh files; errors name the file's own line, row or count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.core.file_types import LIMIT
from render.core.files import read_regular

FloatArray = NDArray[np.float64]

#: More digits after the point than this are not counted.
_MOST_DECIMALS = 12
_MARK = b"\xef\xbb\xbf"


class RefusedError(ValueError):
    """A mesh file cannot be used: what was expected, what came, and what to do."""

    def __init__(self, expected: str, got: str) -> None:
        """Keep both parts for the caller's sentence."""
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got = expected, got


def float32_step(points: FloatArray) -> float:
    """Distance of neighbouring float32 numbers at the farthest of points (n, 3)."""
    return float(np.spacing(np.float32(np.abs(points).max()))) if len(points) else 0.0


def decimal_step(words: Iterable[bytes]) -> float:
    """Smallest difference of decimal numbers; 0 if double precision ends first."""
    digits = max(map(_decimals, words), default=0)
    return float(10.0**-digits) if digits < _MOST_DECIMALS else 0.0


def _decimals(word: bytes) -> int:
    """Digits after the point; of a number with an exponent, as if it were written out."""
    digits, _, power = word.lower().partition(b"e")
    return max(0, len(digits.partition(b".")[2]) - (int(power) if power else 0))


def numbers(words: Sequence[bytes], count: int, expected: str) -> list[float]:
    """Convert words to `count` numbers; raises RefusedError."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count:
        raise RefusedError(expected, number_fault(words))
    return values


def number_fault(words: Sequence[bytes]) -> str:
    """What is wrong with words that are not the expected numbers."""
    text = b" ".join(words).decode("utf-8", "replace")[:60]
    if any(b"," in word for word in words):
        return f"{text!r}, which looks like decimal commas; export the file with decimal points"
    return f"{text!r}; correct it or export the file again"


def finite(points: FloatArray, where: Callable[[int], str], what: str = "three finite numbers") -> None:
    """Refuse nan and inf; where(i): position of row i in the file."""
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        number = int(bad.argmax())
        message = " ".join(f"{value:g}" for value in points[number])
        raise RefusedError(what, f"{message} {where(number)}; correct it or export the file again")


def content(path: Path) -> bytes:
    """Return the bytes of a mesh file without a byte order mark."""
    return read_regular(path, LIMIT).removeprefix(_MARK)


def text_rows(data: bytes) -> list[bytes]:
    """Split a text into lines, with line ends of any system."""
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
