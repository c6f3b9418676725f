"""STL, text and binary; read in double precision."""

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
    content,
    decimal_step,
    finite,
    float32_step,
    numbers,
    text_rows,
)

_HEAD = 84
_FACET = np.dtype([("numbers", "<f4", 12), ("attribute", "<u2")])
_CUT = "the file is cut off: copy or export it again"


def read_stl(path: Path) -> MeshFile:
    """Read and check an STL file; raises RefusedError."""
    data = content(path)
    promised = int.from_bytes(data[80:_HEAD], "little") if len(data) >= _HEAD else -1
    as_text = data[:512].lstrip()[:5].lower() == b"solid" and re.search(rb"facet|endsolid", data[:4096], re.I)
    if len(data) != _HEAD + _FACET.itemsize * promised and as_text:
        return _text(data)
    return _binary(data, promised)


def _binary(data: bytes, promised: int) -> MeshFile:
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
    return MeshFile([_body(points)], lambda: float32_step(points), remarks=remarks)


def _text(data: bytes) -> MeshFile:
    last = data[-4096:].strip().rsplit(b"\n", 1)[-1].strip()
    if not last.lower().startswith(b"endsolid"):
        raise RefusedError("endsolid in its last line", f"{last.decode('latin-1')[:60]!r}; {_CUT}")
    values, lines, rows = array("d"), array("q"), text_rows(data)
    for line, row in enumerate(rows, 1):
        words = row.split()
        if words and words[0].lower() == b"vertex":
            values.extend(numbers(words[1:], 3, f"three numbers after vertex in line {line}"))
            lines.append(line)
    if len(lines) % 3:
        raise RefusedError("three vertices for every facet", f"{len(lines)} vertices in all; {_CUT}")
    points = np.array(values, np.float64).reshape(-1, 3)
    finite(points, lambda i: f"in line {lines[i]}")
    words_read = (word for line in lines for word in rows[line - 1].split()[1:])
    return MeshFile([_body(points)], lambda: decimal_step(words_read), text=True)


def _body(points: FloatArray) -> Body:
    """A body of triangles; points: (3 n, 3) corner after corner."""
    return Body("", Surface(points, np.arange(len(points)), np.full(len(points) // 3, 3)), np.eye(4))
