"""Lists of image ids in files that are mapped into memory instead of copied."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from al_loop.core.files import atomic_file, read_json
from strategies import Ids

#: File in the folder of a cycle: the candidates.
POOL = "pool.json"

HEX = 64  # characters of a SHA-256
_PIECE = 65_536


def write_pool(path: Path, names: Iterable[str]) -> None:
    """Write names as a JSON list, atomically."""
    with atomic_file(path) as file:
        file.writelines(_json(names, ", "))


def read_pool(path: Path) -> Ids:
    """Read a JSON list of names. Map a list of hashes by `write_pool`, whose records have equal sizes."""
    size, record = path.stat().st_size, HEX + len('"", ')
    if size > 0 and size % record == 0:
        data = np.memmap(path, np.uint8, "r")
        marks = {'"': (data[1::record], data[HEX + 2 :: record]), ",": (data[HEX + 3 : -1 : record],)}
        marks[" "] = (data[HEX + 4 :: record],)
        whole = all((column == ord(mark)).all() for mark, columns in marks.items() for column in columns)
        if bytes(data[[0, -1]]) == b"[]" and whole:
            return _mapped(data, 2, record, size // record)
    return Ids.of(read_json(path))


def read_lines(path: Path, size: int, count: int) -> Ids:
    """Read `count` names, one per line, in the first `size` bytes of a file. Map a list of hashes."""
    if count and size == count * (HEX + 1):
        data = np.memmap(path, np.uint8, "r", shape=(size,))
        if (data[HEX :: HEX + 1] == ord("\n")).all():
            return _mapped(data, 0, HEX + 1, count)
    with path.open("rb") as file:
        return Ids.of(file.read(size).decode().split("\n")[:-1])


def pool_hash(names: Iterable[str]) -> str:
    """Return `al_loop.core.files.json_hash` of a list of names. The list need not fit into memory."""
    digest = hashlib.sha256()
    for piece in _json(names, ","):
        digest.update(piece)
    return digest.hexdigest()


def _mapped(data: np.ndarray, start: int, record: int, count: int) -> Ids:  # type: ignore[type-arg]
    return Ids(np.ndarray((count,), f"S{HEX}", data, start, (record,)))


def _json(names: Iterable[str], separator: str) -> Iterator[bytes]:
    """Yield a list of names as JSON, in pieces."""
    before, rest = "[", iter(names)
    while piece := list(islice(rest, _PIECE)):
        yield (before + json.dumps(piece, separators=(separator, ":"))[1:-1]).encode()
        before = separator
    yield ("[]" if before == "[" else "]").encode()
