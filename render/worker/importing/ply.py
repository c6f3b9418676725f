"""Reads PLY files, text and binary, in double precision."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from render.worker.importing.bodies import Body, MeshFile, compact_surface
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

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_CUT = "the file is cut off or its header is wrong: export it again"
#: Rows read at once after a row whose lists have other lengths.
_WINDOW = 8


class _Element(NamedTuple):
    """An element of the header.

    rows: number of rows.
    properties: name -> (NumPy type of the count before a list, or "" for a single number; NumPy type of the
        numbers).
    """

    rows: int
    properties: dict[str, tuple[str, str]]


class _Column(NamedTuple):
    """One property of all rows.

    values: the numbers, row after row.
    sizes: length of each row's list.
    """

    values: NDArray[Any]
    sizes: NDArray[np.int64]


def read_ply(path: Path) -> MeshFile:
    """Read and check a PLY file; raise RefusedError, which names the row or the line."""
    data = read_without_bom(path)
    form, elements, start = _header(data)
    if text := form == "ascii":
        words = data[start:].split()
        data, at = _parse_doubles(data, start, words), 0
        elements = {name: _as_float64(element) for name, element in elements.items()}
    else:
        words, at = [], start
    tables, offsets = {}, {}
    for name, element in elements.items():
        offsets[name] = at
        tables[name], at = _columns(data, at, name, element, _ORDERS[form])
    points, uv, faces = (
        _stack_columns(tables["vertex"], "xyz"),
        _stack_columns(tables["vertex"], "st"),
        _faces(tables["face"]),
    )
    require_finite(points, lambda i: f"in row {i + 1} of vertex")
    require_finite(uv, lambda i: f"in row {i + 1} of vertex", "two finite texture coordinates")
    wrong = faces.values[(faces.values < 0) | (faces.values >= len(points))]
    if len(wrong):
        raise RefusedError(
            f"numbers of vertices, 0 to {len(points) - 1}, in its faces", f"{wrong[0]}; {_CUT}"
        )
    surface = compact_surface(points, faces.values, faces.sizes, uv[faces.values] if uv.size else None)
    left = 0 if text else len(data) - at
    return MeshFile(
        [Body("", surface, np.eye(4))],
        partial(_step, elements["vertex"], points, words[offsets["vertex"] // 8 :] if text else None),
        text,
        (f"{left} bytes after its last element are ignored",) if left else (),
    )


def _step(vertex: _Element, points: FloatArray, words: Sequence[bytes] | None) -> float:
    """Return the resolution of the coordinates; words: those of a text file, from the first vertex on."""
    if words is None:
        return float32_step(points) if vertex.properties["x"][1] == "f4" else 0.0
    width = len(vertex.properties)
    columns = [list(vertex.properties).index(axis) for axis in "xyz"]
    return decimal_step(words[row * width + i] for row in range(vertex.rows) for i in columns)


def _header(data: bytes) -> tuple[str, dict[str, _Element], int]:
    """Return the format, the elements by name, and the offset of the first row."""
    head, mark, _ = data[: 1 << 20].partition(b"end_header")
    end = len(head) + len(mark)
    end += 2 if data[end : end + 2] == b"\r\n" else 1
    lines = head.decode("latin-1").replace("\r", "\n").split("\n")
    if lines[0].strip() != "ply" or not mark:
        raise RefusedError("a PLY header, from ply to end_header", f"{data[:40]!r}; export the file again")
    form, elements, properties = "", dict[str, _Element](), dict[str, tuple[str, str]]()
    for line in lines[1:]:
        match line.split():
            case ["format", name, _]:
                form = name
            case ["element", name, rows] if rows.isdigit() and name not in elements:
                properties = {}
                elements[name] = _Element(int(rows), properties)
            case ["property", "list", count, kind, name] if {count, kind} <= _TYPES.keys() and elements:
                properties[name] = _TYPES[count], _TYPES[kind]
            case ["property", kind, name] if elements and kind in _TYPES:
                properties[name] = "", _TYPES[kind]
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise RefusedError("a line of a PLY header", f"{line[:60]!r}; export the file again")
    if form not in _ORDERS:
        raise RefusedError(f"the format {' or '.join(_ORDERS)}", f"{form!r}; export the file again")
    _check(elements)
    return form, elements, end


def _check(elements: Mapping[str, _Element]) -> None:
    vertex = elements.get("vertex", _Element(0, {}))
    if not {*"xyz"} <= vertex.properties.keys():
        raise RefusedError("vertices with x, y and z in its header", "none; export the file again")
    if any(count for count, _ in vertex.properties.values()):
        raise RefusedError("single numbers for every vertex", "lists; export the file without them")
    if "face" not in elements or not elements["face"].rows:
        raise RefusedError("faces with an area", f"none ({vertex.rows} points); export the surface as a mesh")


def _parse_doubles(data: bytes, start: int, words: Sequence[bytes]) -> bytes:
    """Return the numbers of a text as the bytes of float64."""
    try:
        return np.array(words).astype(np.float64).tobytes()
    except ValueError:
        for line, row in enumerate(split_lines(data[start:]), len(split_lines(data[:start]))):
            parse_floats(row.split(), len(row.split()), f"numbers in line {line}")
        raise


def _as_float64(element: _Element) -> _Element:
    """Return the element with all numbers, including counts of lists, as float64."""
    return _Element(element.rows, {n: (count and "f8", "f8") for n, (count, _) in element.properties.items()})


def _columns(
    data: bytes, at: int, name: str, element: _Element, order: str
) -> tuple[dict[str, _Column], int]:
    """Return the columns of an element, and the offset of the next one.

    Consecutive rows with lists of equal length are read at once.
    """
    parts: list[NDArray[Any]] = []
    left = window = element.rows if element.properties else 0
    while left:
        rows: NDArray[Any] = np.empty(0)
        with contextlib.suppress(ValueError, OverflowError):
            row = _row_type(data, at, element, order)
            rows = np.frombuffer(data, row, min(left, window, (len(data) - at) // row.itemsize), at)
        counts = [rows[field] == rows[field][:1] for field in rows.dtype.names or () if field.startswith("#")]
        alike = np.logical_and.reduce([np.ones(len(rows), bool), *counts])
        count = len(rows) if alike.all() else int(alike.argmin())
        if not count:
            raise RefusedError(
                f"{element.rows} rows of {name}, as its header says", f"{element.rows - left}; {_CUT}"
            )
        window = 2 * window if count == len(rows) else _WINDOW
        parts.append(rows[:count])
        left -= count
        at += count * rows.itemsize
    columns = {}
    for field, (_, kind) in element.properties.items():
        values = [np.empty(0, kind), *(part[field].ravel() for part in parts)]
        sizes = [np.empty(0, np.int64), *(np.full(len(part), part[field].shape[1]) for part in parts)]
        columns[field] = _Column(np.concatenate(values), np.concatenate(sizes))
    return columns, at


def _row_type(data: bytes, at: int, element: _Element, order: str) -> np.dtype[np.void]:
    """Return the type of the row at an offset; the field "#NAME" is the length of the list NAME.

    Raises ValueError if the data end before the row.
    """
    fields: list[tuple[str, np.dtype[Any]]] = []
    end = at
    for name, (count_type, kind) in element.properties.items():
        count = 1
        if count_type:
            fields.append((f"#{name}", np.dtype(order + count_type)))
            count = int(np.frombuffer(data, fields[-1][1], 1, end)[0])
            end += fields[-1][1].itemsize
        fields.append((name, np.dtype((order + kind, (count,)))))
        end += fields[-1][1].itemsize
    return np.dtype(fields)


def _stack_columns(columns: Mapping[str, _Column], names: str) -> FloatArray:
    """Return properties with one-letter names as (rows, k); k is 0 if one is missing."""
    if not {*names} <= columns.keys():
        return np.empty((len(columns["x"].values), 0))
    return np.stack([columns[name].values.astype(np.float64) for name in names], axis=1)


def _faces(columns: Mapping[str, _Column]) -> _Column:
    """Return the vertex indices of all faces."""
    column = columns.get("vertex_indices") or columns.get("vertex_index")
    if column is None:
        raise RefusedError("vertex_indices of its faces", "none; export the file again")
    return _Column(column.values.astype(np.int64), column.sizes)
