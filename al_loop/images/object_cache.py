"""Read images and check their bytes. Images of an object store are downloaded into a cache.

`al_loop.images.repository.keep` copies the images that people label into the workspace. These are a small
part of a large pool, and training data must not depend on a bucket.
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

#: Objects to fetch at a time, and how many to fetch ahead.
_AT_ONCE, _AHEAD = 16, 128
_MAX_BYTES = 1 << 30  # of a stored image, which may be larger than its source after a conversion
_READERS = 4  # files to read at a time
_LEFT = 0.9  # share of the limit that `trim` leaves, so that it need not run again at once
_LOCKS = tuple(Lock() for _ in range(64))


def local_copy(image: ImageFile) -> Path:
    """Return the file of an image. Download it if necessary. Several processes may do so at a time.

    Raises DataError if the object cannot be fetched, or has changed since it was added.
    """
    if image.url is None:
        return image.path
    # One thread of this process fetches the image. Other processes may fetch it, too.
    with _LOCKS[hash(image.id) % len(_LOCKS)]:
        with suppress(FileNotFoundError):
            os.utime(image.path)  # `trim` deletes the least recently used files first
            return image.path
        data = fetch_bytes(image)
        image.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(image.path, shared=True) as file:
            file.write(data)
        return image.path


def fetch_bytes(image: ImageFile) -> bytes:
    """Return the current bytes of an image in an object store. Raises DataError like `local_copy`."""
    assert image.url is not None
    try:
        data = read(image.url)
    except DataError as error:
        raise DataError(f"{image.url} {error}") from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != image.id:
        raise DataError(
            f"{image.url} has changed since it was added: expected SHA-256 {image.id[:12]}, got "
            f"{digest[:12]}. Add the new version: al-loop pool add {shlex.quote(image.url)}"
        )
    return data


def read_stored(image: ImageFile) -> bytes:
    """Return the stored bytes of an image. Download them if necessary.

    Raises DataError if it cannot be read, or has changed since it was stored.
    """
    path = local_copy(image)
    try:
        data = read_regular(path, _MAX_BYTES)
    except OSError as error:
        hint = "" if image.sha256 is None else ". To find and repair all problems: al-loop doctor"
        raise DataError(f"{path} cannot be read ({error.strerror}){hint}") from None
    try:
        check_bytes(image, data)
    except DataError:
        if image.url is None:
            raise
        path.unlink(missing_ok=True)  # a damaged copy of an object is fetched again
        data = read_regular(local_copy(image), _MAX_BYTES)
        check_bytes(image, data)
    return data


def check_bytes(image: ImageFile, data: bytes) -> None:
    """Raise DataError unless these are the stored bytes of an image."""
    if image.sha256 is None:
        return
    digest = hashlib.sha256(data).hexdigest()
    if digest != image.sha256:
        raise DataError(
            f"{image.path} has changed since it was stored: expected SHA-256 {image.sha256[:12]}, got "
            f"{digest[:12]}. Restore it from a backup. To find and repair all problems: al-loop doctor"
        )


def changed_files(images: Iterable[ImageFile]) -> dict[str, str]:
    """Return the reasons why files are unreadable or have changed, by image id."""

    def reason(image: ImageFile) -> str | None:
        try:
            read_stored(image)
        except DataError as error:
            return str(error)
        return None

    images = list(images)
    with ThreadPoolExecutor(_READERS) as readers:
        reasons = zip(images, readers.map(reason, images), strict=True)
        return {image.id: text for image, text in reasons if text is not None}


def check_unchanged(images: Iterable[ImageFile], name: str) -> None:
    """Raise DataError if a file of the evaluation set of this name has changed."""
    for reason in changed_files(images).values():
        raise DataError(f"no model can be evaluated on {name}: {reason}")


class Prefetcher:
    """Fetches linked images before they are read. Errors are raised when the images are read."""

    def __init__(self, images: Iterable[ImageFile]) -> None:
        self._left = (image for image in images if image.url is not None)
        self._executor = ThreadPoolExecutor(_AT_ONCE, "fetch")

    def __enter__(self) -> Prefetcher:
        """Start to fetch."""
        self.advance(_AHEAD)
        return self

    def advance(self, count: int) -> None:
        """Fetch `count` more images, after that many were read."""
        for image in islice(self._left, count):
            self._executor.submit(local_copy, image)  # result and error are ignored

    def __exit__(self, *_: object) -> None:
        """Cancel the rest."""
        self._executor.shutdown(wait=True, cancel_futures=True)


def trim(folder: Path, limit_bytes: int) -> int:
    """Delete the least recently used files until the folder is within the limit. Return their number."""
    files = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # another process may delete them, too
            if path.is_file():
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
    size = sum(item[1] for item in files)
    if size <= limit_bytes:
        return 0
    deleted = 0
    for _, file_size, path in sorted(files):
        if size <= limit_bytes * _LEFT:
            break
        path.unlink(missing_ok=True)
        size -= file_size
        deleted += 1
    return deleted
