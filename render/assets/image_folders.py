"""Image folders of a recipe: which images can be read, and their hashes."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from pathlib import Path

import PIL.Image

from render.core.files import atomic_file, open_regular, sha256_regular

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".exr", ".hdr")
#: What a picture that Pillow does not read begins with.
_MAGIC = {".exr": (b"\x76\x2f\x31\x01",), ".hdr": (b"#?RADIANCE", b"#?RGBE")}
#: Goes up when what counts as readable changes.
_FORMAT = 2
#: Bytes of a picture.
LIMIT = 2**31


class ImageCache:
    """Cache of checked images in a JSON file, so that each is decoded and hashed once.

    An entry holds while path, size, modification and change time, and inode are equal: a file that replaces
    another has another inode or change time, even if a copy kept the old date.
    """

    def __init__(self, path: Path) -> None:
        """Read the cache file; start empty if it is missing or damaged."""
        self._path = path
        self._known: dict[str, list[object]] = {}
        self._changed = False
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            content = json.loads(path.read_text())
            if content["format"] == _FORMAT:
                self._known = content["pictures"]

    def check(self, picture: Path) -> tuple[str, str]:
        """SHA-256 of the file, and why it cannot be read; "" when it can."""
        try:
            status = picture.stat()
            mark = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
            known = self._known.get(str(picture))
            if known is not None and known[:-2] == mark:
                return str(known[-2]), str(known[-1])
            digest = sha256_regular(picture, LIMIT)
        except OSError as error:
            return "", error.strerror or str(error)
        fault = _fault(picture)
        self._known[str(picture)] = [*mark, digest, fault]
        self._changed = True
        return digest, fault

    def save(self) -> None:
        """Write the cache file; if that fails, the next run checks the images again."""
        if not self._changed:
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(self._path, durable=False, shared=True) as file:
                file.write(json.dumps({"format": _FORMAT, "pictures": self._known}).encode())


def pictures_in(place: Path) -> tuple[Path, ...]:
    """Return the image files of a folder and its sub-folders, sorted, without hidden ones; or the file."""
    if place.is_file():
        return (place,)
    pictures: list[Path] = []
    for folder, inside, names in os.walk(place):
        inside[:] = [name for name in inside if not name.startswith(".")]
        shown = (name for name in names if not name.startswith("."))
        pictures += [Path(folder, name) for name in shown if name.lower().endswith(SUFFIXES)]
    return tuple(sorted(pictures))


def _fault(picture: Path) -> str:
    """Why a picture cannot be decoded; "" when it can."""
    magic = _MAGIC.get(picture.suffix.lower())
    try:
        if magic is not None:
            with open_regular(picture) as file:
                return "" if file.read(10).startswith(magic) else f"no {picture.suffix} file inside"
        with warnings.catch_warnings(), open_regular(picture) as file:
            # A panorama of 100 million pixels is meant.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(file) as image:
                # An eighth of a JPEG's size is enough to see that it is whole.
                image.draft("RGB", (image.width // 8, image.height // 8))
                image.load()
    # Pillow's decoders raise what they like on broken files: SyntaxError, struct.error, ...
    except Exception as error:
        return str(error) or type(error).__name__
    return ""
