"""Files: written atomically, hashed, read within limits; folders of the user."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from render.core.files import (
    atomic_file,
    name_as_text,
    name_from_text,
    open_regular,
    printable,
    read_regular,
    too_large,
)

__all__ = [
    "atomic_file", "cache_dir", "file_sha256", "folder_bytes", "hash_of", "json_hash", "name_as_text",
    "name_from_text", "open_regular", "printable", "read_json", "read_regular", "state_dir", "too_large",
    "write_atomically", "write_json",
]  # fmt: skip

_CHUNK = 1 << 20
_MAX_JSON_BYTES = 2 << 30


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
    """Return the SHA-256 of JSON data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def write_atomically(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file with `atomic_file`."""
    with atomic_file(path, mode=mode) as file:
        file.write(data)


def write_json(path: Path, value: object) -> None:
    """Write indented JSON atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    # A file name that is not UTF-8 becomes a JSON escape, which reads back as that name.
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


def read_json(path: Path) -> Any:
    """Read a JSON file that al-loop wrote; OSError for anything but a regular file."""
    return json.loads(read_regular(path, _MAX_JSON_BYTES))


def state_dir() -> Path:
    """Return the folder for decisions of the user: $AL_LOOP_STATE, or the user's state folder."""
    return _user_dir("STATE", ".local/state")


def cache_dir() -> Path:
    """Return the folder for files that can be made again: $AL_LOOP_CACHE, or the user's cache."""
    return _user_dir("CACHE", ".cache")


def _user_dir(kind: str, usual: str) -> Path:
    if override := os.environ.get(f"AL_LOOP_{kind}"):
        return Path(override).expanduser()
    return Path(os.environ.get(f"XDG_{kind}_HOME") or Path.home() / usual) / "al-loop"
