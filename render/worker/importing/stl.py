"""Reads STL files, text and binary, in double precision."""

from __future__ import annotations

import re
from array import array
from pathlib import Path

import numpy as np

from render.shapes.kernels.surface import Surface
from render.worker.importing.bodies import Body, MeshFile
from render.worker.importing.checks import (
    FloatArray,
    RefusedError,
    decimal_step,
    float32_step,
    parse_floats,
    read_without_bom,
    require_finite,
    split_lines,
)

_HEADER_BYTES = 84
_FACET = np.dtype([("numbers", "<f4", 12), ("attribute", "<u2")])
_CUT = "the file is cut off: copy or export it again"


def read_stl(path: Path) -> MeshFile:
    """Read and check an STL file; raise RefusedError if it is damaged."""
    data = read_without_bom(path)
    stated_count = int.from_bytes(data[80:_HEADER_BYTES], "little") if len(data) >= _HEADER_BYTES else -1
    as_text = data[:512].lstrip()[:5].lower() == b"solid" and re.search(rb"facet|endsolid", data[:4096], re.I)
    if len(data) != _HEADER_BYTES + _FACET.itemsize * stated_count and as_text:
        return _text(data)
    return _binary(data, stated_count)


def _binary(data: bytes, stated_count: int) -> MeshFile:
    if stated_count < 0:
        raise RefusedError("an STL file", f"{len(data)} bytes, too few for a header; {_CUT}")
    needed = _HEADER_BYTES + _FACET.itemsize * stated_count
    if len(data) < needed:
        complete = (len(data) - _HEADER_BYTES) // _FACET.itemsize
        raise RefusedError(
            f"{stated_count} triangles ({needed} bytes), as its header says",
            f"{complete} ({len(data)} bytes); {_CUT}",
        )
    if not stated_count:
        raise RefusedError("faces with an area", f"no triangle; {_CUT}")
    facets = np.frombuffer(data, _FACET, stated_count, _HEADER_BYTES)
    points = facets["numbers"][:, 3:].reshape(-1, 3).astype(np.float64)
    require_finite(points, lambda i: f"in triangle {i // 3 + 1} of {stated_count}")
    left = len(data) - needed
    remarks = (f"{left} bytes after the last triangle are ignored",) if left else ()
    return MeshFile([_body(points)], lambda: float32_step(points), remarks=remarks)


def _text(data: bytes) -> MeshFile:
    last = data[-4096:].strip().rsplit(b"\n", 1)[-1].strip()
    if not last.lower().startswith(b"endsolid"):
        raise RefusedError("endsolid in its last line", f"{last.decode('latin-1')[:60]!r}; {_CUT}")
    values, lines, rows = array("d"), array("q"), split_lines(data)
    for line, row in enumerate(rows, 1):
        words = row.split()
        if words and words[0].lower() == b"vertex":
            values.extend(parse_floats(words[1:], 3, f"three numbers after vertex in line {line}"))
            lines.append(line)
    if len(lines) % 3:
        raise RefusedError("three vertices for every facet", f"{len(lines)} vertices in all; {_CUT}")
    points = np.array(values, np.float64).reshape(-1, 3)
    require_finite(points, lambda i: f"in line {lines[i]}")
    words_read = (word for line in lines for word in rows[line - 1].split()[1:])
    return MeshFile([_body(points)], lambda: decimal_step(words_read), text=True)


def _body(points: FloatArray) -> Body:
    """Return a body of triangles; points: (3 n, 3) corner after corner."""
    return Body("", Surface(points, np.arange(len(points)), np.full(len(points) // 3, 3)), np.eye(4))
