"""STL, text and binary, read in double precision; see `render.worker.importing.plain`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from render.worker.importing.plain import (
    MOST_DECIMALS,
    FloatArray,
    Plain,
    RefusedError,
    decimal_step,
    decimals,
    finite,
    float32_step,
    number_fault,
    steps_of,
    whole,
)

_HEAD = 84
_FACET = np.dtype([("numbers", "<f4", 12), ("attribute", "<u2")])
_CUT = "the file is cut off: copy or export it again"


def read_stl(path: Path) -> Plain:
    """Read and check an STL file; raises RefusedError."""
    data, marked = whole(path)
    promised = int.from_bytes(data[80:_HEAD], "little") if len(data) >= _HEAD else -1
    as_text = data[:512].lstrip()[:5].lower() == b"solid" and re.search(rb"facet|endsolid", data[:4096], re.I)
    if len(data) != _HEAD + _FACET.itemsize * promised and as_text:
        return _text(data, marked)
    return _binary(data, promised)


def _binary(data: bytes, promised: int) -> Plain:
    if promised < 0:
        raise RefusedError("an STL file", f"{len(data)} bytes, too few for a header; {_CUT}")
    needed = _HEAD + _FACET.itemsize * promised
    if len(data) < needed:
        complete = (len(data) - _HEAD) // _FACET.itemsize
        raise RefusedError(
            f"{promised} triangles ({needed} bytes), as its header says",
            f"{complete} ({len(data)} bytes); {_CUT}",
        )
    if not promised:
        raise RefusedError("faces with an area", f"no triangle; {_CUT}")
    facets = np.frombuffer(data, _FACET, promised, _HEAD)
    points = facets["numbers"][:, 3:].reshape(-1, 3).astype(np.float64)
    finite(points, lambda i: f"in triangle {i // 3 + 1} of {promised}")
    left = len(data) - needed
    remarks = (f"{left} bytes after the last triangle are ignored",) if left else ()
    step = float32_step(points)
    return Plain(
        points,
        step,
        lambda offset: data[:_HEAD] + _facets(points - offset),
        copied=bool(left),
        remarks=(*remarks, *steps_of(points, step)),
    )


def _text(data: bytes, marked: bool) -> Plain:
    last = data[-4096:].strip().rsplit(b"\n", 1)[-1].strip()
    if not last.lower().startswith(b"endsolid"):
        raise RefusedError("endsolid in its last line", f"{last.decode('latin-1')[:60]!r}; {_CUT}")
    values: list[float] = []
    lines: list[int] = []
    digits = 0
    for number, row in enumerate(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), 1):
        words = row.split()
        if words and words[0].lower() == b"vertex":
            try:
                x, y, z = map(float, words[1:])
            except ValueError:
                raise RefusedError(
                    f"three numbers after vertex in line {number}", number_fault(words[1:])
                ) from None
            values += (x, y, z)
            lines.append(number)
            if digits < MOST_DECIMALS:
                digits = max(digits, *map(decimals, words[1:]))
    if len(lines) % 3:
        raise RefusedError("three vertices for every facet", f"{len(lines)} vertices in all; {_CUT}")
    points = np.array(values, np.float64).reshape(-1, 3)
    finite(points, lambda i: f"in line {lines[i]}")
    step = decimal_step(digits)
    plain = Plain(
        points,
        step,
        lambda offset: bytes(80) + np.uint32(len(points) // 3).tobytes() + _facets(points - offset),
    )
    remarks = steps_of(points, step, text=True) if plain.offset() is not None else ()
    # Blender knows the words in small letters only.
    return Plain(points, step, plain.written, marked or b"facet" not in data, remarks)


def _facets(points: FloatArray) -> bytes:
    facets = np.zeros(len(points) // 3, _FACET)
    facets["numbers"][:, 3:] = points.reshape(-1, 9)
    return facets.tobytes()
