"""List image files of folders, globs and object stores, with size and stamp of each."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from al_loop.core.files import name_as_text, name_from_text
from al_loop.core.urls import masked
from al_loop.images.object_stores import listed

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")
#: Image formats that are not read; they are counted, as a user may miss them.
_OTHERS = frozenset([
    ".heic", ".heif", ".avif", ".gif", ".jp2", ".j2k", ".jxl", ".jxr", ".raw", ".cr2", ".cr3", ".nef",
    ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw", ".psd", ".exr", ".hdr", ".pgm", ".ppm",
    ".pnm", ".tga", ".pcx", ".ico", ".svg", ".pdf", ".dcm", ".mp4", ".avi", ".mov",
])  # fmt: skip
#: Stores in which an object is whole as soon as it is listed.
_ATOMIC = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "memory")
_STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created")
#: Stamp of a file without status.
GONE = "not there"


@dataclass(frozen=True, slots=True)
class FileStat:
    """A file as it lies there.

    stamp: its time of change, or an object store's tag; another stamp is another file.
    """

    path: str
    size: int
    stamp: str
    changed: float | None  # seconds since 1970; None where objects are whole as soon as they are there

    @property
    def name(self) -> str:
        """The path as text for a database, JSON or a terminal, with secrets of a URL masked."""
        return name_as_text(masked(self.path))


@dataclass
class SkippedFiles:
    """What a listing leaves out. suffixes: of pictures of other formats.

    closed: folders not to be looked into, and why.
    """

    suffixes: Counter[str] = field(default_factory=Counter)
    closed: list[tuple[str, str]] = field(default_factory=list)

    def line(self) -> str:
        """Return the skipped files by suffix in one line, "" for none."""
        if not self.suffixes:
            return ""
        counts = ", ".join(f"{count} {suffix}" for suffix, count in self.suffixes.most_common())
        return f"passed over: {counts} (not read; convert them to JPEG, or to PNG or TIFF without loss)"


def files_at(place: str, skipped: SkippedFiles | None = None) -> Iterator[FileStat]:
    """Yield the image files of a folder and its subfolders, a glob, or a URL, sorted by name.

    A file named outright is yielded whatever its suffix, so that whoever reads it can say what is wrong
    with it; so are links that lead nowhere, named pipes and devices of an image's name.
    Raises OSError where nothing is, or it cannot be looked into, and what `al_loop.images.object_stores`
    raises.
    """
    skipped = SkippedFiles() if skipped is None else skipped
    if not place.strip() or "\0" in place:  # an empty variable of a shell is not the current folder
        raise FileNotFoundError(place)
    if is_url(place):
        yield from _objects(place, skipped)
        return
    place = _local(place)
    if os.path.isdir(place):
        yield from _walk(place, skipped)
    elif os.path.lexists(place):
        yield _stat_named(place)
    elif not glob.has_magic(place):
        yield _stat(place, os.stat(place))
    else:
        yield from _matches(place, skipped)


def is_url(place: str) -> bool:
    """Whether a source is in an object store."""
    return "://" in place and not place.startswith("file://")


def _local(place: str) -> str:
    """Return a path; a file:// URL is taken literally or as written by `FileStat.name`."""
    plain = place.removeprefix("file://")
    if plain != place and not os.path.lexists(plain):
        named = name_from_text(place)
        plain = named if os.path.lexists(named) else plain
    return os.path.abspath(os.path.expanduser(plain))


def _matches(pattern: str, skipped: SkippedFiles) -> Iterator[FileStat]:
    searched: set[str] = set()
    for match in sorted(_expanded(pattern)):
        if any(parent in searched for parent in map(str, Path(match).parents)):
            continue  # its folder was searched as a whole
        if os.path.isdir(match):
            searched.add(match)
            yield from _walk(match, skipped)
        elif _wanted(match, skipped):
            yield _stat_named(match)


def _expanded(pattern: str) -> Iterator[str]:
    """Return the paths that match; `**` follows no linked folder, which may contain itself."""
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from glob.iglob(pattern)
        return
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    base, rest = Path(*parts[:first]), parts[first:]
    hidden = any(part.startswith(".") for part in rest)
    for match in base.glob("/".join(rest)):
        if hidden or not any(part.startswith(".") for part in match.relative_to(base).parts):
            yield str(match)


def _walk(folder: str, skipped: SkippedFiles) -> Iterator[FileStat]:
    """Yield the image files below a folder, with one system call per file."""
    pending = [_entries(folder)]
    while pending:
        entry = next(pending[-1], None)
        if entry is None:
            pending.pop()
        elif entry.is_dir(follow_symlinks=False):
            try:
                pending.append(_entries(entry.path))
            except OSError as error:
                skipped.closed.append((name_as_text(entry.path), f"cannot be looked into ({error.strerror})"))
        elif not entry.name.startswith(".") and _wanted(entry.name, skipped):
            try:
                yield _stat(entry.path, entry.stat())
            except FileNotFoundError:
                if entry.is_symlink():  # else it was moved away since it was listed
                    yield FileStat(entry.path, 0, GONE, 0.0)
            except OSError:
                yield FileStat(entry.path, 0, GONE, 0.0)


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return iter(sorted(entries, key=lambda e: e.name))


def _wanted(name: str, skipped: SkippedFiles) -> bool:
    lower = name.lower()
    if lower.endswith(SUFFIXES):
        return True
    suffix = os.path.splitext(lower)[1]
    if suffix in _OTHERS:
        skipped.suffixes[suffix] += 1
    return False


def _stat_named(path: str) -> FileStat:
    try:
        return _stat(path, os.stat(path))
    except OSError:
        return FileStat(path, 0, GONE, 0.0)  # whoever reads it says why


def _stat(path: str, status: os.stat_result) -> FileStat:
    return FileStat(path, status.st_size, str(status.st_mtime_ns), status.st_mtime)


def _file_of(url: str, name: str) -> str:
    """Return an object's name without query parameters of a web address, such as a signature."""
    return name.partition("?")[0] if url.startswith(("http://", "https://")) else name


def _objects(url: str, skipped: SkippedFiles) -> Iterator[FileStat]:
    """Yield the objects below a URL, or that match it."""
    filesystem, entries = listed(url, glob.has_magic)
    atomic = url.partition("://")[0] in _ATOMIC
    for name, about in sorted(entries.items()):
        if about.get("type") == "directory" or not _wanted(_file_of(url, name), skipped):
            continue
        stamp = next((str(about[key]) for key in _STAMPS if key in about), "")
        changed = None if atomic else float(about.get("mtime") or 0)
        yield FileStat(filesystem.unstrip_protocol(name), int(about.get("size") or 0), stamp, changed)
