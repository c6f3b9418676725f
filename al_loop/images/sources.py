"""List the image files of folders, globs and object stores."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from al_loop.core.files import name_as_text, name_from_text
from al_loop.core.urls import masked
from al_loop.images.object_stores import list_objects

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")
#: Image formats that are not read. The files are counted, because users may miss them.
_OTHERS = frozenset([
    ".heic", ".heif", ".avif", ".gif", ".jp2", ".j2k", ".jxl", ".jxr", ".raw", ".cr2", ".cr3", ".nef",
    ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw", ".psd", ".exr", ".hdr", ".pgm", ".ppm",
    ".pnm", ".tga", ".pcx", ".ico", ".svg", ".pdf", ".dcm",
])  # fmt: skip
#: Files with these suffixes are videos.
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
#: Stores that list an object only when it is complete.
_ATOMIC = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "memory")
_STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created")
#: Stamp of a file that cannot be opened.
GONE = "not there"


@dataclass(frozen=True, slots=True)
class FileStat:
    """Size and stamp of an image file.

    stamp: time of change, or tag of an object store. A changed file has another stamp.
    changed: seconds since 1970. None for stores whose objects are complete as soon as they are listed.
    """

    path: str
    size: int
    stamp: str
    changed: float | None

    @property
    def name(self) -> str:
        """The path as text for a database, JSON or a terminal, with secrets of a URL masked."""
        return name_as_text(masked(self.path))


@dataclass
class SkippedFiles:
    """Files that a listing skips: images of other formats by suffix, and unreadable folders with reasons."""

    suffixes: Counter[str] = field(default_factory=Counter)
    closed: list[tuple[str, str]] = field(default_factory=list)

    def line(self) -> str:
        """Return the skipped files by suffix in one line, or "" without any."""
        if not self.suffixes:
            return ""
        counts = ", ".join(f"{count} {suffix}" for suffix, count in self.suffixes.most_common())
        hints = ["convert them to JPEG, or to PNG or TIFF without loss"] if self._images else []
        hints += ["frames of videos: --every SECONDS or --changed"] if self._videos else []
        return f"passed over: {counts} (not read; {'; '.join(hints)})"

    def without_videos(self) -> SkippedFiles:
        """Return the skipped files that are no videos."""
        others = {suffix: count for suffix, count in self.suffixes.items() if suffix not in VIDEOS}
        return SkippedFiles(Counter(others), self.closed)

    @property
    def _videos(self) -> bool:
        return any(suffix in VIDEOS for suffix in self.suffixes)

    @property
    def _images(self) -> bool:
        return any(suffix not in VIDEOS for suffix in self.suffixes)


def files_at(
    place: str, skipped: SkippedFiles | None = None, suffixes: tuple[str, ...] = SUFFIXES
) -> Iterator[FileStat]:
    """Yield the image files of a folder and its subfolders, a glob, or a URL, sorted by name.

    A file given by its own name is yielded whatever its suffix. Broken links, named pipes and devices with
    the name of an image are yielded, too: the code that reads them reports the problem.
    suffixes: of the files that are yielded of a folder or glob of this machine.
    Raises OSError if the place does not exist or cannot be listed, and the errors of `list_objects`.
    """
    skipped = SkippedFiles() if skipped is None else skipped
    if not place.strip() or "\0" in place:  # an empty variable of a shell is not the current folder
        raise FileNotFoundError(place)
    if is_url(place):
        yield from _objects(place, skipped)
        return
    place = _local(place)
    if os.path.isdir(place):
        yield from _walk(place, skipped, suffixes)
    elif glob.has_magic(place) and not os.path.lexists(place):
        yield from _matches(place, skipped, suffixes)
    else:
        os.lstat(place)  # raises OSError if the place does not exist
        yield from filter(None, [_stat(place)])


def is_url(place: str) -> bool:
    """Whether a source is in an object store."""
    return "://" in place and not place.startswith("file://")


def _local(place: str) -> str:
    """Return an absolute path. A file:// URL is read literally or as written by `FileStat.name`."""
    plain = place.removeprefix("file://")
    if plain != place and not os.path.lexists(plain):
        named = name_from_text(place)
        plain = named if os.path.lexists(named) else plain
    return os.path.abspath(os.path.expanduser(plain))


def _matches(pattern: str, skipped: SkippedFiles, suffixes: tuple[str, ...]) -> Iterator[FileStat]:
    searched: set[str] = set()
    for match in sorted(_expand(pattern)):
        if any(parent in searched for parent in map(str, Path(match).parents)):
            continue  # it is below a folder that was listed
        if os.path.isdir(match):
            searched.add(match)
            yield from _walk(match, skipped, suffixes)
        elif _wanted(match, skipped, suffixes) and (file := _stat(match)):
            yield file


def _expand(pattern: str) -> Iterator[str]:
    """Yield the paths that match. `**` does not follow linked folders, which may contain themselves."""
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


def _walk(folder: str, skipped: SkippedFiles, suffixes: tuple[str, ...]) -> Iterator[FileStat]:
    """Yield the files with these suffixes below a folder, with one system call per file."""
    pending = [_entries(folder)]
    while pending:
        entry = next(pending[-1], None)
        if entry is None:
            pending.pop()
        elif entry.is_dir(follow_symlinks=False):
            try:
                pending.append(_entries(entry.path))
            except OSError as error:
                skipped.closed.append((name_as_text(entry.path), f"cannot be listed ({error.strerror})"))
        elif entry.name.startswith(".") or not _wanted(entry.name, skipped, suffixes):
            continue
        elif (file := _stat(entry)) is not None:
            yield file


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return iter(sorted(entries, key=lambda e: e.name))


def _wanted(name: str, skipped: SkippedFiles, suffixes: tuple[str, ...] = SUFFIXES) -> bool:
    lower = name.lower()
    if lower.endswith(suffixes):
        return True
    suffix = os.path.splitext(lower)[1]
    if suffix in _OTHERS or suffix in VIDEOS:
        skipped.suffixes[suffix] += 1
    return False


def _stat(file: str | os.DirEntry[str]) -> FileStat | None:
    """Return size and stamp of a file. None if it was moved since it was listed.

    A file without status, such as a broken link, is returned too: the code that reads it reports the problem.
    """
    path = os.fspath(file)
    try:
        status = os.stat(path) if isinstance(file, str) else file.stat()
    except OSError as error:
        moved = isinstance(error, FileNotFoundError) and not os.path.islink(path)
        return None if moved else FileStat(path, 0, GONE, 0.0)
    return FileStat(path, status.st_size, str(status.st_mtime_ns), status.st_mtime)


def _objects(url: str, skipped: SkippedFiles) -> Iterator[FileStat]:
    """Yield the image files below a URL, or those that match it."""
    filesystem, entries = list_objects(url)
    scheme = url.partition("://")[0]
    for name, about in sorted(entries.items()):
        # Parameters of a web address, such as a signature, are not part of the file's name.
        file = name.partition("?")[0] if scheme in ("http", "https") else name
        if about.get("type") == "directory" or not _wanted(file, skipped):
            continue
        stamp = next((str(about[key]) for key in _STAMPS if key in about), "")
        changed = None if scheme in _ATOMIC else float(about.get("mtime") or 0)
        yield FileStat(filesystem.unstrip_protocol(name), int(about.get("size") or 0), stamp, changed)
