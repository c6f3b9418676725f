"""Photometric files (IESNA LM-63): how bright a lamp's brightest direction is."""

from __future__ import annotations

from pathlib import Path

from render.core.errors import AssetError
from render.core.files import read_regular

#: Of a photometric file.
MAX_BYTES = 16 << 20

#: What Blender 4.5's IES node multiplies candela by, so that a lamp of one watt gives what the file says;
#: measured.
WATTS_PER_CANDELA = 0.07657


def peak(path: Path) -> float:
    """The greatest value Blender's IES node gives for a file; raises AssetError for anything else."""
    try:
        text = read_regular(path, MAX_BYTES).decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise AssetError(f"expected an IES file at {path}, got {error.strerror or error}") from error
    head, tilt, tail = text.replace(",", " ").partition("\nTILT=")
    try:
        numbers = [float(word) for word in _after_tilt(tail)]
        across, around = int(numbers[3]), int(numbers[4])
        factor = numbers[2] * numbers[10] * numbers[11]
        start = 13 + across + around
        candela = numbers[start : start + across * around]
    except (ValueError, IndexError):
        candela = []
    if not tilt or not candela or len(candela) != across * around or max(candela) * factor <= 0:
        raise AssetError(
            f"expected an IESNA LM-63 file (.ies) with a TILT line and candela above 0 at {path}, "
            f"got one that starts with {head[:40]!r}"
        )
    return max(candela) * factor * WATTS_PER_CANDELA


def _after_tilt(text: str) -> list[str]:
    """The words after the TILT line and, where the line says INCLUDE, after its table."""
    first, _, rest = text.partition("\n")
    words = rest.split()
    if first.strip().upper() != "INCLUDE":
        return words
    return words[2 + 2 * int(words[1]) :]
