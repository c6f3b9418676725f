"""Bytes of images, checked whenever they are read; objects of a store are downloaded into a cache.

What people are asked to label is copied into the workspace for good (`al_loop.images.repository.keep`): of
a pool of millions these are few, and nothing that was trained on may be lost with a bucket.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Lock

from al_loop.core.errors import DataError
from al_loop.core.files import atomic_file, read_regular
from al_loop.images.object_stores import read
from al_loop.structures.images import ImageFile

#: Objects that are fetched at a time, and how many may wait for whoever looks at them.
_AT_ONCE, _AHEAD = 16, 128
_MOST_BYTES = 1 << 30  # of a stored picture: a photograph that was turned or converted may have grown
_READERS = 4  # files that are read at a time
#: Share of the limit that is left after some were dropped, so that not every picture drops one.
_LEFT = 0.9
_TURNS = tuple(Lock() for _ in range(64))


def local_copy(image: ImageFile) -> Path:
    """Return an image's file, downloaded if it is not here; safe in several processes at a time.

    Raises DataError where the object cannot be had, or is another than it was when it was added.
    """
    if image.url is None:
        return image.path
    # Whoever fetches it first does so for all threads; other processes may fetch it, too.
    with _TURNS[hash(image.id) % len(_TURNS)]:
        return _fetched(image, image.url)


def _fetched(image: ImageFile, url: str) -> Path:
    with suppress(FileNotFoundError):
        os.utime(image.path)  # it was used: others are dropped before it
        return image.path
    data = fetch_bytes(image)
    image.path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(image.path, shared=True) as file:
        file.write(data)
    return image.path


def fetch_bytes(image: ImageFile) -> bytes:
    """Return the bytes of an image that stays in a store, as they are there now; raises as `present` does."""
    assert image.url is not None
    try:
        data = read(image.url)
    except DataError as error:
        raise DataError(f"{image.url} {error}") from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != image.id:
        raise DataError(
            f"{image.url} is not what it was when it was added: expected SHA-256 {image.id[:12]}, "
            f"got {digest[:12]}. "
            f"Add what is there now: al-loop pool add {shlex.quote(image.url)}"
        )
    return data


def read_stored(image: ImageFile) -> bytes:
    """Return the stored bytes of an image, downloaded if they are not here.

    Raises DataError where it cannot be read, or holds other bytes than were stored.
    """
    path = local_copy(image)
    try:
        data = read_regular(path, _MOST_BYTES)
    except OSError as error:
        then = "" if image.sha256 is None else ". What else is wrong, and what mends it: al-loop doctor"
        raise DataError(f"{path} cannot be read ({error.strerror}){then}") from None
    try:
        check_bytes(image, data)
    except DataError:
        if image.url is None:
            raise
        path.unlink(missing_ok=True)  # what was kept of an object is fetched again
        data = read_regular(local_copy(image), _MOST_BYTES)
        check_bytes(image, data)
    return data


def check_bytes(image: ImageFile, data: bytes) -> None:
    """Raise DataError unless these are the bytes that were stored as an image."""
    if image.sha256 is None:
        return
    digest = hashlib.sha256(data).hexdigest()
    if digest != image.sha256:
        raise DataError(
            f"{image.path} is not what was stored: expected SHA-256 {image.sha256[:12]}, got {digest[:12]}. "
            "Restore it from a backup; what else is wrong, and what mends it: al-loop doctor"
        )


def changed_files(images: Iterable[ImageFile]) -> dict[str, str]:
    """Return the reason for each image whose file cannot be read or has changed, by id."""

    def reason(image: ImageFile) -> str | None:
        try:
            read_stored(image)
        except DataError as error:
            return str(error)
        return None

    some = list(images)
    with ThreadPoolExecutor(_READERS) as readers:
        reasons = zip(some, readers.map(reason, some), strict=True)
        return {image.id: text for image, text in reasons if text is not None}


def check_unchanged(images: Iterable[ImageFile], name: str) -> None:
    """Raise DataError where a file of the set of that name has changed: models cannot be evaluated on it."""
    for reason in changed_files(images).values():
        raise DataError(f"no model can be judged on {name}: {reason}")


class Prefetcher:
    """Fetches linked images ahead of their use; an error is raised when the image is read."""

    def __init__(self, images: Iterable[ImageFile]) -> None:
        self._left = (image for image in images if image.url is not None)
        self._crew = ThreadPoolExecutor(_AT_ONCE, "fetch")

    def __enter__(self) -> Prefetcher:
        """Fetch the first images."""
        self.advance(_AHEAD)
        return self

    def advance(self, count: int) -> None:
        """Fetch `count` more images, as that many were read."""
        for image in islice(self._left, count):
            self._crew.submit(_quietly, image)

    def __exit__(self, *_: object) -> None:
        """Cancel what nobody waits for."""
        self._crew.shutdown(wait=True, cancel_futures=True)


def _quietly(image: ImageFile) -> None:
    with suppress(DataError):
        local_copy(image)


def trim(folder: Path, limit_bytes: int) -> int:
    """Delete the least recently used files until the folder is within the limit; return their number."""
    files = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another process drops, too
            if path.is_file():
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
    size = sum(item[1] for item in files)
    if size <= limit_bytes:
        return 0
    dropped = 0
    for _, file_size, path in sorted(files):
        if size <= limit_bytes * _LEFT:
            break
        path.unlink(missing_ok=True)
        size -= file_size
        dropped += 1
    return dropped
