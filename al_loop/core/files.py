"""Files that are whole or not there, and their hashes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from render.core.files import name_as_text, name_from_text, open_regular, printable, read_regular, too_large

__all__ = [
    "cache_dir", "file_sha256", "folder_bytes", "json_hash", "name_as_text", "name_from_text", "open_regular", "printable",
    "read_json", "read_regular", "too_large", "write_atomically", "write_json", "write_pieces_atomically",
]  # fmt: skip

_CHUNK = 1 << 20
_MOST_JSON_BYTES = 2 << 30


def file_sha256(path: Path, size: int | None = None) -> str:
    """Return the SHA-256 of a file, or of its first `size` bytes, as 64 hex digits."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        left = os.fstat(file.fileno()).st_size if size is None else size
        while chunk := file.read(min(_CHUNK, left)):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def hash_of(path: Path) -> str | None:
    """Return the SHA-256 of a file; None where there is none."""
    return file_sha256(path) if path.is_file() else None


def json_hash(value: object) -> str:
    """Return a hash of JSON-serialisable data that does not depend on the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def folder_bytes(folder: Path) -> int:
    """Return how much the files below a folder hold."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a killed run, finds it whole or not at all."""
    write_pieces_atomically(path, [data])


def write_pieces_atomically(path: Path, pieces: Iterable[bytes]) -> None:
    """Do what `write_atomically` does for a file that is not in memory as a whole."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        for data in pieces:
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_json(path: Path, value: object) -> None:
    """Write indented JSON atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    # Of a file name that is no UTF-8, what Python writes here is JSON's escape, which is read back as that name.
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


def read_json(path: Path) -> Any:
    """Read a JSON file of ours; OSError for what is no regular file."""
    return json.loads(read_regular(path, _MOST_JSON_BYTES))


def state_dir() -> Path:
    """Return the folder for what a user has decided on this machine: $AL_LOOP_STATE, or the user's state folder."""
    if override := os.environ.get("AL_LOOP_STATE"):
        return Path(override).expanduser()
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "al-loop"


def cache_dir() -> Path:
    """Return the folder for things that can be made again: $AL_LOOP_CACHE, or the user's cache."""
    if override := os.environ.get("AL_LOOP_CACHE"):
        return Path(override).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "al-loop"
