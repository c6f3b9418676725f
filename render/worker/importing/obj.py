"""Reads Wavefront OBJ in double precision; materials are ignored, since the recipe defines them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path

import numpy as np

from render.worker.importing.bodies import Body, MeshFile, compact_surface
from render.worker.importing.checks import (
    FloatArray,
    RefusedError,
    decimal_step,
    describe_bad_numbers,
    parse_floats,
    read_without_bom,
    require_finite,
    split_lines,
)


@dataclass
class _Elements:
    """Elements of the lines read so far.

    places: vertices, x, y, z one after another.
    lines, uv_lines: line numbers of vertices and texture coordinates, from 1.
    corners: vertex index of each face corner.
    coordinates: index of its texture coordinate, or -1.
    sizes: number of corners of each face.
    objects: name of each object, and index of its first face.
    others: number of point and line elements.
    """

    places: array[float] = field(default_factory=lambda: array("d"))
    lines: array[int] = field(default_factory=lambda: array("q"))
    uv: array[float] = field(default_factory=lambda: array("d"))
    uv_lines: array[int] = field(default_factory=lambda: array("q"))
    corners: array[int] = field(default_factory=lambda: array("q"))
    coordinates: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    objects: list[tuple[str, int]] = field(default_factory=lambda: [("", 0)])
    others: int = 0

    def add(self, row: bytes, line: int) -> None:
        """Add the element of a line."""
        words = row.split()
        match words[:1]:
            case [b"v"]:
                self.places.extend(parse_floats(words[1:4], 3, f"three numbers after v in line {line}"))
                self.lines.append(line)
            case [b"vt"]:
                # With one number, the texture is one-dimensional; Blender sets the other to 0.
                given = parse_floats(
                    words[1:3], min(2, len(words) - 1) or 1, f"numbers after vt in line {line}"
                )
                self.uv.extend([*given, 0.0][:2])
                self.uv_lines.append(line)
            case [b"f"]:
                self._add_face(words[1:], line)
            case [b"o"]:
                name = row.strip()[1:].strip().decode("utf-8", "replace")
                self.objects.append((name, len(self.sizes)))
            case [b"l" | b"p"]:
                self.others += 1

    def _add_face(self, words: Sequence[bytes], line: int) -> None:
        vertices, coordinates = len(self.lines), len(self.uv_lines)
        for word in words:
            vertex, uv, *_ = *word.split(b"/"), b""
            try:
                corner, coordinate = int(vertex), int(uv or b"0")
            except ValueError:
                raise RefusedError(
                    f"numbers of vertices in line {line}", describe_bad_numbers([word])
                ) from None
            if corner == 0 or not -vertices <= corner <= vertices:
                raise _index_error(corner, vertices, f"in line {line}: the vertices")
            if not -coordinates <= coordinate <= coordinates:
                raise _index_error(coordinate, coordinates, f"in line {line}: the texture coordinates")
            self.corners.append(_index(corner, vertices))
            self.coordinates.append(_index(coordinate, coordinates))
        self.sizes.append(len(words))


def _index(number: int, total: int) -> int:
    """Convert a number, from 1, or negative from the last element, to an index; 0 becomes -1."""
    return number - 1 if number >= 0 else total + number


def _index_error(number: int, total: int, what: str) -> RefusedError:
    return RefusedError(
        f"1 to {total}, or -{total} to -1, {what} before it",
        f"{number}; the file is cut or damaged: export it again",
    )


def read_obj(path: Path) -> MeshFile:
    """Read and check an OBJ file; raise RefusedError, which names the line."""
    rows = _logical_rows(read_without_bom(path))
    elements = _Elements()
    for line, row in enumerate(rows, 1):
        elements.add(row, line)
    lines, uv_lines = elements.lines, elements.uv_lines
    places = np.array(elements.places, np.float64).reshape(-1, 3)
    require_finite(places, lambda i: f"in line {lines[i]}")
    uv = np.array(elements.uv, np.float64).reshape(-1, 2)
    require_finite(uv, lambda i: f"in line {uv_lines[i]}", "two finite texture coordinates")
    if not elements.corners:
        raise RefusedError(
            "faces with an area",
            f"none ({len(places)} vertices, {elements.others} points or lines); export the surface as a mesh",
        )
    return MeshFile(
        _bodies(elements, places, uv, path.stem),
        lambda: decimal_step(word for line in lines for word in rows[line - 1].split()[1:4]),
        text=True,
    )


def _bodies(elements: _Elements, places: FloatArray, uv: FloatArray, unnamed: str) -> list[Body]:
    """Return the objects that have faces; a repeated name gets a number."""
    corners, coordinates, sizes = map(np.array, (elements.corners, elements.coordinates, elements.sizes))
    ends = np.concatenate([[0], np.cumsum(sizes)])
    bodies: dict[str, Body] = {}
    for (stated, first), (_, last) in pairwise([*elements.objects, ("", len(sizes))]):
        if first == last:
            continue
        names = (f"{stated or unnamed}.{number:03d}".removesuffix(".000") for number in count())
        name = next(name for name in names if name not in bodies)
        of_object = slice(ends[first], ends[last])
        textured = coordinates[of_object, None] >= 0
        object_uv = np.where(textured, uv[coordinates[of_object]], 0.0) if textured.any() else None
        surface = compact_surface(places, corners[of_object], sizes[first:last], object_uv)
        bodies[name] = Body(name, surface, np.eye(4))
    return list(bodies.values())


def _logical_rows(text: bytes) -> list[bytes]:
    """Split a text into lines; a line that ends with a backslash takes in the next, which becomes empty."""
    rows = split_lines(text)
    if b"\\\n" in text or b"\\\r" in text:
        for number in range(len(rows) - 2, -1, -1):
            if rows[number].endswith(b"\\"):
                rows[number] = rows[number][:-1] + b" " + rows[number + 1]
                rows[number + 1] = b""
    return rows
