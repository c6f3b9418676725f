"""Files: written atomically, hashed, read within limits; folders of the user."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from render.core.files import name_as_text, name_from_text, open_regular, printable, read_regular, too_large

__all__ = [
    "atomic_file", "cache_dir", "file_sha256", "folder_bytes", "json_hash", "name_as_text", "name_from_text",
    "open_regular", "printable", "read_json", "read_regular", "too_large", "write_atomically", "write_json",
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
    """Return a hash of JSON data that does not depend on the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def atomic_file(path: Path, *, mode: int = 0o666, shared: bool = False) -> Iterator[BinaryIO]:
    """Give a file to write that takes the place of `path` when the block ends without an error.

    A reader, or a run after a kill, finds the file whole or not at all.

    mode: rights of a new file, before the umask.
    shared: several processes may write the file at a time.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial" if shared else f"{path.name}.partial")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file that is whole or not there; see `atomic_file`."""
    with atomic_file(path, mode=mode) as file:
        file.write(data)


def write_json(path: Path, value: object) -> None:
    """Write indented JSON atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    # A file name that is no UTF-8 is written as a JSON escape, which is read back as that name.
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


def read_json(path: Path) -> Any:
    """Read a JSON file that al-loop wrote; OSError for anything but a regular file."""
    return json.loads(read_regular(path, _MOST_JSON_BYTES))


def state_dir() -> Path:
    """Return the folder for decisions of the user: $AL_LOOP_STATE, or the user's state folder."""
    if override := os.environ.get("AL_LOOP_STATE"):
        return Path(override).expanduser()
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "al-loop"


def cache_dir() -> Path:
    """Return the folder for files that can be made again: $AL_LOOP_CACHE, or the user's cache."""
    if override := os.environ.get("AL_LOOP_CACHE"):
        return Path(override).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "al-loop"
