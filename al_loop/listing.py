"""Which image files lie in folders, below globs and in object stores, and as what each was last seen."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from al_loop.errors import ConfigError, DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
#: Stores in which an object appears whole or not at all.
_ATOMIC = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "memory")
_STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created")


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it lies there. stamp: its time of change, or an object store's tag; another stamp is another file."""

    path: str
    size: int
    stamp: str
    changed: float | None  # seconds since 1970; None where objects are whole as soon as they are there


def files_at(place: str) -> Iterator[Seen]:
    """Yield the image files of a folder (searched below), a glob, or a URL of either, in the order of their names.

    A file named outright is yielded whatever its suffix, so that whoever reads it can say what is wrong with it.
    Raises FileNotFoundError where nothing is, and what `filesystem_of` and the store itself raise.
    """
    if is_url(place):
        yield from _objects(place)
        return
    place = os.path.abspath(os.path.expanduser(place.removeprefix("file://")))
    if os.path.isdir(place):
        yield from _walk(place)
    elif os.path.exists(place) or not glob.has_magic(place):
        yield _seen(place, os.stat(place))
    else:
        for match in sorted(glob.glob(place, recursive=True)):
            if os.path.isdir(match):
                yield from _walk(match)
            elif match.lower().endswith(SUFFIXES):
                yield _seen(match, os.stat(match))


def is_url(place: str) -> bool:
    """Say whether a place is in an object store."""
    return "://" in place and not place.startswith("file://")


def filesystem_of(url: str) -> tuple[Any, str]:
    """Return the store of a URL and the path in it; ConfigError where there is no such kind, or a package is missing.

    fsspec, because it reaches every store there is by one interface, and torch brings it along.
    """
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ConfigError(f"needs another package ({error}). Install it and run again") from None
    except ValueError as error:
        raise ConfigError(f"{error}; expected a path, or a URL such as s3://bucket/folder") from None
    return filesystem, path


def read(url: str) -> bytes:
    """Return what an object holds; DataError says why it could not be had. Threads may do so side by side."""
    try:
        filesystem, path = filesystem_of(url)
        data: bytes = filesystem.cat_file(path)
    except FileNotFoundError:
        raise DataError("cannot be fetched (it is not there)") from None
    # What else a store raises is part of no interface: no rights, no network, no such bucket.
    except Exception as error:
        raise DataError(f"cannot be fetched ({error})") from None
    return data


def _walk(folder: str) -> Iterator[Seen]:
    """One call of the system per file: an inbox of many takes a listing."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            elif entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".") and entry.is_file():
                with suppress(FileNotFoundError):  # moved away since it was listed
                    yield _seen(entry.path, entry.stat())


def _seen(path: str, status: os.stat_result) -> Seen:
    return Seen(path, status.st_size, str(status.st_mtime_ns), status.st_mtime)


def _objects(url: str) -> Iterator[Seen]:
    """Objects below a URL, or that its pattern stands for."""
    filesystem, path = filesystem_of(url)
    look = filesystem.glob if glob.has_magic(path) else filesystem.find
    try:
        listed: Mapping[str, Mapping[str, Any]] = look(path, detail=True)
    except Exception as error:  # as in `read`
        raise DataError(f"cannot be listed ({error})") from None
    atomic = url.partition("://")[0] in _ATOMIC
    for name, about in sorted(listed.items()):
        if about.get("type") == "directory" or not name.lower().endswith(SUFFIXES):
            continue
        stamp = next((str(about[key]) for key in _STAMPS if key in about), "")
        changed = None if atomic else float(about.get("mtime") or 0)
        yield Seen(filesystem.unstrip_protocol(name), int(about.get("size") or 0), stamp, changed)
