"""PLY, text and binary, read in double precision; see `render.worker.importing.plain`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from render.worker.importing.plain import (
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

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}
_UV = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
_CUT = "the file is cut off or its header is wrong: export it again"


@dataclass(frozen=True)
class _Property:
    """kind: numpy's name of its numbers.  count: that of the number before a list, "" for a single number."""

    name: str
    kind: str
    count: str = ""


@dataclass(frozen=True)
class _Element:
    name: str
    rows: int
    properties: tuple[_Property, ...] = ()

    def place(self, name: str) -> int:
        """Which property a name is; -1: none."""
        return next((i for i, prop in enumerate(self.properties) if prop.name == name), -1)


def read_ply(path: Path) -> Plain:
    """Read and check a PLY file; raises RefusedError, which names the row."""
    data, marked = whole(path)
    form, elements, start = _header(data)
    vertices = next((e for e in elements if e.name == "vertex"), None)
    if vertices is None or any(vertices.place(axis) < 0 for axis in "xyz"):
        raise RefusedError("vertices with x, y and z in its header", "none; export the file again")
    if not any(e.name in ("face", "tristrips") and e.rows for e in elements):
        raise RefusedError(
            "faces with an area", f"none ({vertices.rows} points); export the surface as a mesh"
        )
    plain = _text(data, elements, start) if form == "ascii" else _binary(data, elements, start, _ORDERS[form])
    return Plain(plain.points, plain.step, plain.written, marked or plain.copied, plain.remarks)


def _header(data: bytes) -> tuple[str, list[_Element], int]:
    head, mark, _ = data[: 1 << 20].partition(b"end_header")
    end = len(head) + len(mark)
    end += 2 if data[end : end + 2] == b"\r\n" else 1
    lines = head.decode("latin-1").replace("\r", "\n").split("\n")
    if lines[0].strip() != "ply" or not mark:
        raise RefusedError("a PLY header, from ply to end_header", f"{data[:40]!r}; export the file again")
    form, elements = "", list[_Element]()
    for line in lines[1:]:
        match line.split():
            case ["format", name, _]:
                form = name
            case ["element", name, rows] if rows.isdigit():
                elements.append(_Element(name, int(rows)))
            case ["property", "list", count, kind, name] if elements and {count, kind} <= _TYPES.keys():
                elements[-1] = _with(elements[-1], _Property(name, _TYPES[kind], _TYPES[count]))
            case ["property", kind, name] if elements and kind in _TYPES:
                elements[-1] = _with(elements[-1], _Property(name, _TYPES[kind]))
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise RefusedError("a line of a PLY header", f"{line[:60]!r}; export the file again")
    if form != "ascii" and form not in _ORDERS:
        raise RefusedError(f"the format ascii, {' or '.join(_ORDERS)}", f"{form!r}; export the file again")
    return form, elements, end


def _with(element: _Element, added: _Property) -> _Element:
    return _Element(element.name, element.rows, (*element.properties, added))


def _checked(
    points: FloatArray, uv: FloatArray | None, corners: NDArray[np.int64], step: float, call: str
) -> tuple[FloatArray, tuple[str, ...]]:
    """The points that faces use, and remarks; raises RefusedError."""
    finite(points, lambda i: f"in {call} {i + 1} of vertex")
    if uv is not None:
        finite(uv, lambda i: f"in {call} {i + 1} of vertex", "two finite texture coordinates")
    wrong = corners[(corners < 0) | (corners >= len(points))]
    if len(wrong):
        raise RefusedError(
            f"numbers of vertices, 0 to {len(points) - 1}, in its faces", f"{wrong[0]}; {_CUT}"
        )
    used = points[np.unique(corners)] if len(corners) else points
    return used, steps_of(used, step) if step else ()


# ---- text -------------------------------------------------------------------------------------------------


def _text(data: bytes, elements: list[_Element], start: int) -> Plain:
    rows = data[start:].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    filled = [number for number, row in enumerate(rows) if row.strip()]
    at, digits, first = 0, 0, 0
    corners: list[int] = []
    points, uv, columns = np.empty((0, 3)), None, [0, 0, 0]
    for element in elements:
        numbers = filled[at : at + element.rows]
        if len(numbers) < element.rows:
            raise RefusedError(
                f"{element.rows} rows of {element.name}, as its header says", f"{len(numbers)}; {_CUT}"
            )
        if element.name == "vertex":
            first = at
            points, uv, columns, digits = _text_vertices(element, [rows[i].split() for i in numbers])
        elif element.name == "face":
            for row, number in enumerate(numbers, 1):
                corners += _text_face(element, rows[number].split(), row)
        at += element.rows
    step = decimal_step(digits)
    used, _ = _checked(points, uv, np.array(corners, np.int64), 0.0, "row")

    def written(offset: FloatArray) -> bytes:
        lines_out = list(rows)
        for number, place in zip(
            filled[first : first + len(points)], (points - offset).tolist(), strict=True
        ):
            words = rows[number].split()
            for column, value in zip(columns, place, strict=True):
                words[column] = repr(value).encode()
            lines_out[number] = b" ".join(words)
        return data[:start] + b"\n".join(lines_out)

    plain = Plain(used, step, written)
    return Plain(
        used, step, written, remarks=steps_of(used, step, text=True) if plain.offset() is not None else ()
    )


def _text_vertices(
    element: _Element, rows: list[list[bytes]]
) -> tuple[FloatArray, FloatArray | None, list[int], int]:
    """Places, texture coordinates, the columns of x, y, z, and the most digits after a point."""
    if any(prop.count for prop in element.properties):
        raise RefusedError("single numbers for every vertex", "lists; export the file without them")
    width, columns = len(element.properties), [element.place(axis) for axis in "xyz"]
    pair = next((p for p in _UV if element.place(p[0]) >= 0 and element.place(p[1]) >= 0), None)
    more = [element.place(name) for name in pair] if pair else []
    values, digits = list[list[float]](), 0
    for number, words in enumerate(rows, 1):
        try:
            if len(words) < width:
                raise ValueError
            values.append([float(words[column]) for column in (*columns, *more)])
        except ValueError:
            raise RefusedError(f"{width} numbers in row {number} of vertex", number_fault(words)) from None
        digits = max(digits, *(decimals(words[column]) for column in columns))
    held = np.array(values, np.float64).reshape(-1, 3 + len(more))
    return held[:, :3], held[:, 3:] if more else None, columns, digits


def _text_face(element: _Element, words: list[bytes], row: int) -> list[int]:
    at, sizes = 0, list[int]()
    try:
        for prop in element.properties:
            count = int(words[at]) if prop.count else 1
            at += 1 if prop.count else 0
            if count < 0 or at + count > len(words):
                raise ValueError
            if prop.name in ("vertex_indices", "vertex_index"):
                sizes = [int(word) for word in words[at : at + count]]
            at += count
    except (ValueError, IndexError):
        raise RefusedError(
            f"a count and as many numbers in row {row} of face",
            f"{b' '.join(words)[:60].decode('latin-1')!r}; {_CUT}",
        ) from None
    return sizes


# ---- binary -----------------------------------------------------------------------------------------------


def _binary(data: bytes, elements: list[_Element], start: int, order: str) -> Plain:
    at, step, begin = start, 0.0, start
    corners, remarks = np.empty(0, np.int64), list[str]()
    table: NDArray[np.void] | None = None
    for element in elements:
        if element.name == "vertex":
            begin = at
            table, at = _table(data, element, at, order)
        else:
            indices, at = _lists(data, element, at, order)
            corners = indices if element.name == "face" else corners
    assert table is not None  # _header found one
    points = np.stack([table[axis].astype(np.float64) for axis in "xyz"], axis=1)
    pair = next(
        (p for p in _UV if p[0] in (table.dtype.names or ()) and p[1] in (table.dtype.names or ())), None
    )
    uv = np.stack([table[name].astype(np.float64) for name in pair], axis=1) if pair else None
    step = float32_step(points) if table.dtype["x"].itemsize == 4 else 0.0
    used, coarse = _checked(points, uv, corners, step, "row")
    if at < len(data):
        remarks.append(f"{len(data) - at} bytes after its last element are ignored")
    size, held = table.nbytes, table

    def written(offset: FloatArray) -> bytes:
        moved = held.copy()
        for number, axis in enumerate("xyz"):
            moved[axis] = points[:, number] - offset[number]
        return data[:begin] + moved.tobytes() + data[begin + size :]

    return Plain(used, step, written, remarks=(*remarks, *coarse))


def _table(data: bytes, element: _Element, at: int, order: str) -> tuple[NDArray[np.void], int]:
    """Rows of single numbers, and where they end."""
    if any(prop.count for prop in element.properties):
        raise RefusedError(f"single numbers for every {element.name}", "lists; export the file without them")
    kind = np.dtype([(prop.name, order + prop.kind) for prop in element.properties])
    there = (len(data) - at) // kind.itemsize
    if there < element.rows:
        raise RefusedError(f"{element.rows} rows of {element.name}, as its header says", f"{there}; {_CUT}")
    return np.frombuffer(data, kind, element.rows, at), at + element.rows * kind.itemsize


def _lists(data: bytes, element: _Element, at: int, order: str) -> tuple[NDArray[np.int64], int]:
    """The vertices that rows with lists name, and where the rows end."""
    if not any(prop.count for prop in element.properties):
        return np.empty(0, np.int64), _table(data, element, at, order)[1]
    alike = _alike(data, element, at, order)
    if alike is not None:
        return alike
    kinds = [
        (np.dtype(order + prop.kind), np.dtype(order + prop.count) if prop.count else None, prop.name)
        for prop in element.properties
    ]
    sizes = list[NDArray[np.int64]]()
    for row in range(element.rows):
        try:
            for kind, counted, name in kinds:
                count = 1
                if counted is not None:
                    count = int(np.frombuffer(data, counted, 1, at)[0])
                    at += counted.itemsize
                if count < 0:
                    raise ValueError
                if name in ("vertex_indices", "vertex_index"):
                    sizes.append(np.frombuffer(data, kind, count, at).astype(np.int64))
                elif at + count * kind.itemsize > len(data):
                    raise ValueError
                at += count * kind.itemsize
        except ValueError:
            raise RefusedError(
                f"{element.rows} rows of {element.name}, as its header says", f"{row}; {_CUT}"
            ) from None
    return np.concatenate(sizes) if sizes else np.empty(0, np.int64), at


def _alike(data: bytes, element: _Element, at: int, order: str) -> tuple[NDArray[np.int64], int] | None:
    """Result of `_lists` in one step if all rows are as long as the first; else None."""
    lists = [prop for prop in element.properties if prop.count]
    if len(lists) != 1 or not element.rows:
        return None
    fields: list[tuple[str, str, int]] = []
    place = at
    for prop in element.properties:
        count = 1
        if prop.count:
            counted = np.dtype(order + prop.count)
            if place + counted.itemsize > len(data):
                return None
            count = int(np.frombuffer(data, counted, 1, place)[0])
            if not 0 < count < 1000:
                return None
            fields.append(("count", order + prop.count, 1))
            place += counted.itemsize
        fields.append((f"={prop.name}", order + prop.kind, count))
        place += count * np.dtype(order + prop.kind).itemsize
    kind = np.dtype([(name, code, (count,)) for name, code, count in fields])
    if at + kind.itemsize * element.rows > len(data):
        return None
    rows = np.frombuffer(data, kind, element.rows, at)
    if (rows["count"] != rows["count"][0]).any():
        return None
    named = next((f"={n}" for n in ("vertex_indices", "vertex_index") if n == lists[0].name), None)
    end = at + kind.itemsize * element.rows
    return (rows[named].astype(np.int64).ravel() if named else np.empty(0, np.int64)), end
