"""Wavefront OBJ, read in double precision; see `render.worker.importing.plain`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from render.core.file_types import LIMIT
from render.core.files import read_regular
from render.worker.importing.plain import (
    MOST_DECIMALS,
    FloatArray,
    Plain,
    RefusedError,
    decimal_step,
    decimals,
    finite,
    number_fault,
    steps_of,
    whole,
)

#: Elements whose points are not named by faces: curves and surfaces of control points.
_FREE = (b"curv", b"curv2", b"surf")
#: Lines of a material file that name a picture begin so.
_MAPS = (b"map_", b"bump", b"disp", b"refl", b"norm", b"decal")


@dataclass
class _Found:
    """What the lines of a file gave so far; the lists of lines are numbers from 1."""

    places: list[float] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    uv: list[float] = field(default_factory=list)
    uv_lines: list[int] = field(default_factory=list)
    corners: list[int] = field(default_factory=list)
    faces: int = 0
    others: int = 0
    free: bool = False
    libraries: list[bytes] = field(default_factory=list)
    decimals: int = 0


def read_obj(path: Path) -> Plain:
    """Read and check an OBJ file; raises RefusedError, which names the line."""
    text, marked = whole(path)
    rows = _rows(text)
    found = _Found()
    for number, row in enumerate(rows, 1):
        words = row.split()
        if words:
            _take(words, row, number, found)
    places = np.array(found.places, np.float64).reshape(-1, 3)
    finite(places, lambda i: f"in line {found.lines[i]}")
    finite(
        np.array(found.uv, np.float64).reshape(-1, 2), lambda i: f"in line {found.uv_lines[i]}",
        "two finite texture coordinates",
    )  # fmt: skip
    if not found.faces and not found.free:
        raise RefusedError(
            "faces with an area",
            f"none ({len(places)} vertices, {found.others} points or lines); export the surface as a mesh",
        )
    used = places if found.free else places[np.unique(np.array(found.corners, np.int64))]
    step = decimal_step(found.decimals)
    plain = Plain(used, step, lambda offset: _written(rows, places, offset))
    # What a near file's digits cannot say is the modeller's business: an integer is as good a place as any.
    remarks = steps_of(used, step, text=True) if plain.offset() is not None else ()
    return Plain(
        used,
        step,
        plain.written,
        copied=bool(found.libraries) or marked,
        remarks=remarks,
        companions=_companions(found.libraries, path.parent),
    )


def _companions(libraries: list[bytes], folder: Path) -> tuple[Path, ...]:
    """The material files (MTL) of an OBJ file that are there, and the pictures that they name."""
    found: dict[Path, None] = {}
    for library in (path for words in libraries for path in _named(words, folder)):
        found[library] = None
        for row in _rows(read_regular(library, LIMIT)):
            words = row.split(None, 1)
            if len(words) == 2 and words[0].lower().startswith(_MAPS):
                found |= dict.fromkeys(_named(words[1], library.parent))
    return tuple(found)


def _named(rest: bytes, folder: Path) -> list[Path]:
    """Files that the rest of a line names: one, perhaps with spaces, or several; options come first."""
    one = folder / os.fsdecode(rest.strip().strip(b'"'))
    paths = [one] if os.path.lexists(one) else [folder / os.fsdecode(word) for word in rest.split()]
    return [path for path in paths if path.is_file()]


def _rows(text: bytes) -> list[bytes]:
    """The lines; one that ends with a backslash goes on with the next, whose place is left empty."""
    rows = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if b"\\\n" not in text and b"\\\r" not in text:
        return rows
    for number in range(len(rows) - 2, -1, -1):
        if rows[number].endswith(b"\\"):
            rows[number] = rows[number][:-1] + b" " + rows[number + 1]
            rows[number + 1] = b""
    return rows


def _take(words: list[bytes], row: bytes, number: int, found: _Found) -> None:
    match words[0]:
        case b"v":
            found.places += _numbers(words[1:4], 3, number, "three numbers after v")
            found.lines.append(number)
            if found.decimals < MOST_DECIMALS:
                found.decimals = max(found.decimals, *map(decimals, words[1:4]))
        case b"vt":
            # One number is a texture along a line; Blender takes 0 for the other.
            read = _numbers(words[1:3], min(2, len(words) - 1) or 1, number, "numbers after vt")
            found.uv += [*read, 0.0][:2]
            found.uv_lines.append(number)
        case b"f":
            found.faces += 1
            _take_face(words[1:], number, found)
        case b"l" | b"p":
            found.others += 1
        case b"mtllib":
            found.libraries += row.split(None, 1)[1:]
        case key if key in _FREE:
            found.free = True
        case _:
            pass


def _take_face(words: list[bytes], number: int, found: _Found) -> None:
    vertices, coordinates = len(found.lines), len(found.uv_lines)
    for word in words:
        parts = word.split(b"/")
        try:
            corner = int(parts[0])
            uv = int(parts[1]) if len(parts) > 1 and parts[1] else 0
        except ValueError:
            raise RefusedError(f"numbers of vertices in line {number}", number_fault([word])) from None
        for index, count, what in ((corner, vertices, "vertices"), (uv, coordinates, "texture coordinates")):
            if (index == 0 and what == "vertices") or not -count <= index <= count:
                raise RefusedError(
                    f"1 to {count}, or -{count} to -1, in line {number}: the {what} before it",
                    f"{index}; the file is cut or damaged: export it again",
                )
        found.corners.append(corner - 1 if corner > 0 else vertices + corner)


def _numbers(words: list[bytes], count: int, line: int, what: str) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count:
        raise RefusedError(f"{what} in line {line}", number_fault(words))
    return values


def _written(rows: list[bytes], places: FloatArray, offset: FloatArray) -> bytes:
    moved = iter((places - offset).tolist())
    still = not offset.any()
    made = []
    for row in rows:
        words = row.split(None, 4)
        if words and words[0] == b"mtllib":
            made.append(b"")  # materials are the recipe's: neither they nor their pictures are read
        elif words and words[0] == b"v":
            x, y, z = next(moved)
            rest = b" ".join(words[4:])
            made.append(row if still else f"v {x!r} {y!r} {z!r} ".encode() + rest)
        else:
            made.append(row)
    return b"\n".join(made)
