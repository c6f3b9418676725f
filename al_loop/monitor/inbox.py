"""New photographs from where they come in, into the pool: each file once, and only when it is whole."""

from __future__ import annotations

import glob
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from al_loop.console import Progress
from al_loop.errors import AlLoopError, ConfigError, DataError
from al_loop.ingest import SUFFIXES, add_images
from al_loop.workspace import Workspace, now

#: Stores in which an object appears whole or not at all.
_ATOMIC = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "memory")
_BATCH = 256  # files that are read and noted together; a killed look reads at most so many again


@dataclass(frozen=True)
class Seen:
    """A file as it lies there. stamp: its time of change, or an object store's tag; another stamp is another file."""

    path: str
    size: int
    stamp: str
    changed: float | None  # seconds since 1970; None where objects are whole as soon as they are there


@dataclass
class Taken:
    """What a look at the inbox brought. added: ids of new images."""

    added: list[str] = field(default_factory=list)
    duplicates: int = 0
    waiting: list[str] = field(default_factory=list)  # still being written
    refused: list[tuple[str, str]] = field(default_factory=list)  # and why; told once
    missing: list[str] = field(default_factory=list)  # places that cannot be looked at, and why


def take(workspace: Workspace, progress: Progress | None = None) -> Taken:
    """Add what is new in the inbox to the pool. Files that were taken or refused are not read again.

    A file waits while its size or time changes, or changed less than settle_s ago; when the clock stands before that
    time, until two looks have seen it the same.
    """
    settings, found = workspace.config.monitor, Taken()
    known = {row["path"]: row for row in workspace.store.rows("SELECT path, size, stamp, state FROM inbox")}
    ready: list[Seen] = []
    for place in settings.inbox:
        try:
            for seen in _files(place):
                row = known.get(seen.path)
                same = row is not None and (row["size"], row["stamp"]) == (seen.size, seen.stamp)
                if row is not None and same and row["state"] != "waiting":
                    continue
                if _whole(seen, settings.settle_s, seen_before=same):
                    ready.append(seen)
                else:
                    found.waiting.append(seen.path)
                    _note(workspace, seen, "waiting", "")
        except (AlLoopError, OSError, ValueError) as error:
            found.missing.append(f"{place}: {error}")
    for start in range(0, len(ready), _BATCH):
        _read(workspace, ready[start : start + _BATCH], found)
        if progress:
            progress(min(start + _BATCH, len(ready)), len(ready))
    return found


def _files(place: str) -> Iterator[Seen]:
    """Image files of a folder (searched below), a glob, or a URL of either."""
    if "://" in place and not place.startswith("file://"):
        yield from _objects(place)
        return
    place = os.path.expanduser(place.removeprefix("file://"))
    if os.path.isdir(place):
        yield from _walk(place)
        return
    matches = sorted(glob.glob(place, recursive=True))
    if not matches and not glob.has_magic(place):
        raise FileNotFoundError("no such folder. Make it, or correct monitor.inbox in al-loop.toml")
    for match in matches:
        if os.path.isdir(match):
            yield from _walk(match)
        elif match.lower().endswith(SUFFIXES):
            yield _seen(match, os.stat(match))


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
    filesystem, path = _filesystem(url)
    look = filesystem.glob if glob.has_magic(path) else filesystem.find
    try:
        listed: Mapping[str, Mapping[str, Any]] = look(path, detail=True)
    except (
        Exception
    ) as error:  # what a store raises is part of no interface: no rights, no network, no such bucket
        raise DataError(f"cannot be listed ({error})") from None
    atomic = url.partition("://")[0] in _ATOMIC
    for name, about in sorted(listed.items()):
        if about.get("type") == "directory" or not name.lower().endswith(SUFFIXES):
            continue
        stamp = next(
            (
                str(about[key])
                for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created")
                if key in about
            ),
            "",
        )
        changed = None if atomic else float(about.get("mtime") or 0)
        yield Seen(filesystem.unstrip_protocol(name), int(about.get("size") or 0), stamp, changed)


def _filesystem(url: str) -> tuple[Any, str]:
    """fsspec, because it reaches every store there is by one interface, and torch brings it along."""
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ConfigError(f"needs another package ({error}). Install it and run again") from None
    except ValueError as error:
        raise ConfigError(f"{error}. Correct monitor.inbox in al-loop.toml") from None
    return filesystem, path


def _whole(seen: Seen, settle_s: float, *, seen_before: bool) -> bool:
    if seen.changed is None:
        return True
    age = time.time() - seen.changed
    # A time to come: the clock jumped back, or the camera's is ahead. Then only what stays the same is whole.
    return age >= settle_s if age >= 0 else seen_before


def _read(workspace: Workspace, ready: Sequence[Seen], found: Taken) -> None:
    """Add files to the pool and note what became of them."""
    with tempfile.TemporaryDirectory(prefix="al-loop-inbox-") as folder:
        local = [(_local(seen, Path(folder), number, found), seen) for number, seen in enumerate(ready)]
        there = {path: seen for path, seen in local if path is not None}
        report = add_images(workspace, list(there), sources={path: seen.path for path, seen in there.items()})
    found.added += report.added
    found.duplicates += report.duplicates
    refused = dict(report.refused)
    for path, seen in there.items():
        reason = refused.get(path)
        if reason is not None:
            found.refused.append((seen.path, reason))
        _note(workspace, seen, "taken" if reason is None else "refused", reason or "")


def _local(seen: Seen, folder: Path, number: int, found: Taken) -> Path | None:
    """The file itself, or a copy of an object."""
    if "://" not in seen.path:
        return Path(seen.path)
    target = folder / f"{number}{Path(seen.path).suffix}"
    try:
        filesystem, path = _filesystem(seen.path)
        filesystem.get_file(path, str(target))
    except Exception as error:  # as above; the others go on, and the next look tries again
        found.missing.append(f"{seen.path}: {error}")
        return None
    return target


def _note(workspace: Workspace, seen: Seen, state: str, note: str) -> None:
    workspace.store.execute(
        "INSERT OR REPLACE INTO inbox VALUES (?, ?, ?, ?, ?, ?)",
        seen.path,
        seen.size,
        seen.stamp,
        state,
        note,
        now(),
    )
