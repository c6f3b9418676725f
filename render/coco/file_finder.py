"""Find the image files that a COCO file names by paths of this or another machine, or by web addresses."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import takewhile
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: A folder with more files is not searched, so that a match could not be proved to be the only one.
MAX_FILES = 500_000
_DEEPEST = 12
#: Folders that tools put around images; a name may lack them.
_USUAL = frozenset({"images", "image", "imgs", "img", "data", "default", "photos", "pictures"})
#: Suffixes under which a tool may have saved the image.
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_ANNOTATION_FOLDERS = frozenset({"annotations", "annotation"})

Identity = tuple[int, int]
Parts = tuple[str, ...]


@dataclass(frozen=True)
class FoundFile:
    """A regular file. Equal identities are one file, whatever links lead to it."""

    path: Path
    identity: Identity


class FileFinder:
    """Finds the images of one COCO file by their paths, or by the tails of their paths below its folder."""

    def __init__(self, file: Path) -> None:
        """Search beside `file` and in images/ there; for a folder called annotations, in the one above it."""
        self.folder = file.parent
        # "train" of instances_train.json: CVAT and COCO give each of several files a folder of that name.
        self._subset = file.stem.partition("_")[2]
        above = self.folder.resolve().name.casefold() in _ANNOTATION_FOLDERS
        self._root = self.folder / ".." if above else self.folder

    def exact(self, name: str) -> FoundFile | None:
        """Return the file beside the COCO file or in images/, None where there is none."""
        return (
            regular_file(self.folder / name) or regular_file(self.folder / "images" / name) if name else None
        )

    def fitting(self, name: str) -> list[FoundFile]:
        """Return the best matches for `name`: none, one, or several that match equally.

        One path must be the tail of the other, except for usual folders such as images/. Names are compared
        as written, then by Unicode form (NFC), then without case, then without outer spaces and escapes
        (%20).
        """
        parts = path_parts(name)
        if not parts:
            return []
        if name.startswith("file://") and (local := regular_file(Path("/", *parts))):
            return [local]
        near = self._files.get(_plain(parts[-1]), [])
        for same in (str, _composed, _folded, _plain):
            if matches := self._best(parts, near, same):
                return matches
        return []

    def with_other_suffix(self, name: str) -> FoundFile | None:
        """Return the only file with this name and another suffix, to be offered; it may be another image."""
        parts = path_parts(name)
        stem, suffix = os.path.splitext(_plain(parts[-1])) if parts else ("", "")
        others = [stem + other for other in _SUFFIXES if other != suffix]
        paths = [place for other in others for place in self._files.get(other, [])]
        return regular_file(self._root.joinpath(*paths[0])) if len(paths) == 1 else None

    def _best(self, parts: Parts, near: Sequence[Parts], same: Callable[[str], str]) -> list[FoundFile]:
        ranked: dict[int, list[Parts]] = {}
        for candidate in near:
            length = _common_tail(parts, candidate, same)
            rest = [part.casefold() for part in candidate[: len(candidate) - length]]
            if length and (length == len(parts) or {*rest} <= _USUAL | {self._subset.casefold()}):
                ranked.setdefault(length, []).append(candidate)
        best = ranked[max(ranked)] if ranked else []
        if len(best) > 1 and self._subset:
            best = [c for c in best if self._subset in c[:-1]] or best
        files = [regular_file(self._root.joinpath(*candidate)) for candidate in best]
        return list({file.identity: file for file in files if file is not None}.values())

    @cached_property
    def _files(self) -> dict[str, list[Parts]]:
        """Paths of all files below the root, by plain name; empty where there are too many."""
        files: dict[str, list[Parts]] = {}
        visited: set[str] = set()
        count = 0
        for folder, folders, names in os.walk(self._root, followlinks=True):
            parts, place = Path(folder).relative_to(self._root).parts, os.path.realpath(folder)
            if place in visited:
                folders.clear()
                continue
            visited.add(place)
            shown = [name for name in names if not name.startswith(".")]
            folders[:] = [name for name in folders if not name.startswith(".") and len(parts) < _DEEPEST]
            count += len(shown) + len(folders)
            if count > MAX_FILES:
                return {}
            for name in shown:
                files.setdefault(_plain(name), []).append((*parts, name))
        return {name: sorted(paths) for name, paths in files.items()}


def regular_file(path: Path) -> FoundFile | None:
    """Return a regular file; None for anything else, and for names that no file can have."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return FoundFile(path, (status.st_dev, status.st_ino)) if stat.S_ISREG(status.st_mode) else None


def path_parts(name: str) -> Parts:
    """Return folders and name of a path of Windows or POSIX, or of a web address."""
    if "://" in name:
        try:
            name = unquote(urlsplit(name).path)
        except ValueError:
            return ()
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    while parts and (parts[0] == ".." or parts[0].endswith(":")):
        del parts[0]
    return tuple(parts)


def tails_agree(first: str, second: str) -> bool:
    """Whether one path is the tail of the other, without case and Unicode form."""
    a, b = path_parts(first), path_parts(second)
    return _common_tail(a, b, _folded) == min(len(a), len(b))


def _common_tail(a: Parts, b: Parts, same: Callable[[str], str]) -> int:
    pairs = zip(reversed(a), reversed(b), strict=False)
    return sum(1 for _ in takewhile(lambda pair: same(pair[0]) == same(pair[1]), pairs))


_composed = partial(unicodedata.normalize, "NFC")


def _folded(part: str) -> str:
    return _composed(part).casefold()


def _plain(part: str) -> str:
    """Return a part without escapes of web addresses and outer spaces."""
    return _folded(unquote(part)).strip()
