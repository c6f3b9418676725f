"""Parses and checks the numbers of mesh files; errors name the line, row or count in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.core.file_types import LIMIT
from render.core.files import read_regular

FloatArray = NDArray[np.float64]

#: Decimal places beyond this number are not counted.
_MAX_DECIMALS = 12
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class RefusedError(ValueError):
    """Raised for a mesh file that cannot be used: what was expected, what was found, and what to do."""

    def __init__(self, expected: str, got: str) -> None:
        """Store both parts, from which the caller builds its message."""
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got = expected, got


def float32_step(points: FloatArray) -> float:
    """Return the distance of neighbouring float32 numbers at the farthest of points (n, 3)."""
    return float(np.spacing(np.float32(np.abs(points).max()))) if len(points) else 0.0


def decimal_step(words: Iterable[bytes]) -> float:
    """Return the smallest difference that decimal numbers express; 0 if it is below double precision."""
    digits = max(map(_decimals, words), default=0)
    return float(10.0**-digits) if digits < _MAX_DECIMALS else 0.0


def _decimals(word: bytes) -> int:
    """Return the number of decimal places, as if an exponent were written out."""
    digits, _, power = word.lower().partition(b"e")
    return max(0, len(digits.partition(b".")[2]) - (int(power) if power else 0))


def parse_floats(words: Sequence[bytes], count: int, expected: str) -> list[float]:
    """Convert words to `count` numbers; raise RefusedError if that is not possible."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count:
        raise RefusedError(expected, describe_bad_numbers(words))
    return values


def describe_bad_numbers(words: Sequence[bytes]) -> str:
    """Return what is wrong with words that are not the expected numbers."""
    text = b" ".join(words).decode("utf-8", "replace")[:60]
    if any(b"," in word for word in words):
        return f"{text!r}, which looks like decimal commas; export the file with decimal points"
    return f"{text!r}; correct it or export the file again"


def require_finite(
    points: FloatArray, where: Callable[[int], str], what: str = "three finite numbers"
) -> None:
    """Raise RefusedError for nan and inf; where(i): position of row i in the file."""
    not_finite = ~np.isfinite(points).all(axis=1)
    if not_finite.any():
        number = int(not_finite.argmax())
        message = " ".join(f"{value:g}" for value in points[number])
        raise RefusedError(what, f"{message} {where(number)}; correct it or export the file again")


def read_without_bom(path: Path) -> bytes:
    """Return the bytes of a mesh file without a byte order mark."""
    return read_regular(path, LIMIT).removeprefix(_BYTE_ORDER_MARK)


def split_lines(data: bytes) -> list[bytes]:
    """Split a text into lines that end with LF, CR LF or CR."""
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
