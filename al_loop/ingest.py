"""Photographs into the workspace: each once, upright, checked, by the hash of its bytes."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from al_loop.errors import DataError
from al_loop.identity import (
    hash_all,
    hash_known,
    judged_sizes,
    note_pixels,
    rgb_sha256,
    same_bytes,
    same_pixels,
)
from al_loop.workspace import Workspace, now

# What a browser shows and OpenCV reads as it is; anything else is stored as PNG.
_KEPT_FORMATS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp"}
_READ_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")  # MPO, a JPEG of several frames, is read as JPEG
MAX_PIXELS = 100_000_000
MAX_BYTES = 256 << 20
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_SYNCED = 16  # files at a time: the file system then writes its journal once for many
_SHELF = 256  # files of `add_images` that become part of the workspace together

Progress = Callable[[int, int], None]


@dataclass
class IngestReport:
    """What became of the files: every one is in exactly one of the seven.

    known: recognised without being read.  unreached: objects that could not be fetched, and why; the next run tries again.
    kept: images whose labels differ from those of a file, and how; nothing about them was changed.
    """

    added: list[str] = field(default_factory=list)  # image ids
    duplicates: int = 0
    known: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)  # where, and why
    unreached: list[tuple[str, str]] = field(default_factory=list)
    moved: int = 0  # pool images that are validation images from now on
    kept: list[tuple[str, str]] = field(default_factory=list)

    @property
    def files(self) -> int:
        """Return how many files it is about."""
        told = len(self.added) + len(self.refused) + len(self.unreached) + len(self.kept)
        return told + self.duplicates + self.known + self.moved


@dataclass(frozen=True)
class Upright:
    """A checked image, ready to store.

    untouched: byte for byte as it came in.  original_pixels: hash of its upright pixels where storing it has changed them.
    """

    id: str
    data: bytes
    suffix: str
    width: int
    height: int
    untouched: bool = True
    original_pixels: str | None = None


class Shelf:
    """Images that become part of the workspace together: files first, on the disk for good, then their rows.

    What a kill leaves behind are files without a row, which the next run writes again.
    """

    def __init__(self, workspace: Workspace, role: str) -> None:
        self._workspace, self._role = workspace, role
        self._rows: dict[str, tuple[object, ...]] = {}
        self._files: dict[str, Path] = {}
        self._stored: dict[str, str] = {}  # by the hash of what is stored
        self._pixels: dict[tuple[str, str], str] = {}
        self._linked: dict[str, bytes] = {}  # to be compared, and in no file
        self._reports: dict[str, IngestReport] = {}
        self._sizes = judged_sizes(workspace) if role == "pool" else set()

    def put(
        self,
        image: Upright,
        source: str,
        report: IngestReport,
        *,
        linked: bool = False,
        pixels: str | None = None,
    ) -> str:
        """Write an image's file, unless it is known, or `linked`: stays where it came from, if it may stay as it is.

        pixels: its `pixels_sha256`, where that is known.  Returns the id by which the image is known now.
        """
        stored = image.id if image.untouched else hashlib.sha256(image.data).hexdigest()
        known = same_bytes(self._workspace, image.id, stored)
        known = known or next((self._stored[h] for h in (image.id, stored) if h in self._stored), None)
        if known is not None:
            report.duplicates += 1
            return known
        in_place = linked and image.untouched
        place = source if in_place else self._write(image)
        size = (image.width, image.height)
        self._rows[image.id] = (image.id, place, stored, *size, source, self._role, now())
        self._stored |= {image.id: image.id, stored: image.id}
        if pixels:
            self._pixels[image.id, "stored"] = pixels
        if image.original_pixels:
            self._pixels[image.id, "original"] = image.original_pixels
        if in_place and size in self._sizes:
            self._linked[image.id] = image.data
        report.added.append(image.id)
        self._reports[image.id] = report
        return image.id

    def _write(self, image: Upright) -> str:
        relative = Path("images") / image.id[:2] / f"{image.id}{image.suffix}"
        target = self._workspace.root / relative
        try:
            file = target.open("wb")
        except FileNotFoundError:
            target.parent.mkdir(parents=True)
            file = target.open("wb")
        with file:
            file.write(image.data)
        self._files[image.id] = target
        return str(relative)

    def drop(self, name: str) -> None:
        """Take an image back that was put here: it is another one that is known."""
        del self._rows[name]
        if name in self._files:
            self._files.pop(name).unlink()
        self._pixels = {key: found for key, found in self._pixels.items() if key[0] != name}

    def sync(self) -> None:
        """Leave out copies of images that models are judged on, and wait until the files are on the disk."""
        self._drop_judged()
        if self._files:
            with ThreadPoolExecutor(min(_SYNCED, len(self._files))) as crew:
                list(crew.map(_sync, self._files.values()))
        self._files.clear()

    def _drop_judged(self) -> None:
        """Compare pixels with those of judged images of the same size: only then is a photograph decoded here."""
        compared = [name for name, row in self._rows.items() if (row[3], row[4]) in self._sizes]
        if not compared:
            return
        hash_known(self._workspace, self._sizes, judged=True)
        pictures = [self._linked.pop(n) if n in self._linked else self._files[n].read_bytes for n in compared]
        for name, found in zip(compared, hash_all(pictures), strict=True):
            if found:
                self._pixels[name, "stored"] = found
        judged = same_pixels(self._workspace, set(self._pixels.values()), judged=True)
        copies = {name for (name, _), found in self._pixels.items() if found in judged}
        for name in copies:
            self.drop(name)
            self._reports[name].added.remove(name)
            self._reports[name].duplicates += 1

    def insert(self) -> None:
        """Write the rows, within the caller's transaction."""
        store = self._workspace.store
        for row in self._rows.values():
            store.execute(
                "INSERT INTO images (id, file, stored_sha256, width, height, source, role, added_at, arrived) VALUES "
                "(?, ?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(arrived), 0) + 1 FROM images))",
                *row,
            )
        note_pixels(self._workspace, [(*key, found) for key, found in self._pixels.items()])


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def add_images(
    workspace: Workspace, files: Sequence[Path], on_progress: Progress | None = None, *, decode: bool = False
) -> IngestReport:
    """Add photographs to the pool, whatever is remembered of them; safe to repeat.

    A file that cannot be used is refused by name.  decode: see `load_upright`.
    """
    report = IngestReport()
    for start in range(0, len(files), _SHELF):
        shelf = Shelf(workspace, "pool")
        for number, path in enumerate(files[start : start + _SHELF], start=start + 1):
            try:
                shelf.put(load_upright(path, decode=decode), str(path), report)
            except DataError as error:
                report.refused.append((str(path), str(error)))
            if on_progress:
                on_progress(number, len(files))
        shelf.sync()
        with workspace.store.transaction():
            shelf.insert()
    return report


def refuse_large(size: int) -> None:
    """Raise DataError for a file of more than MAX_BYTES, before it is read."""
    if size > MAX_BYTES:
        raise DataError(f"has {size >> 20} MiB, at most {MAX_BYTES >> 20} are taken")


def load_upright(path: Path, *, decode: bool = False) -> Upright:
    """Read, check and turn an image upright; DataError says what is wrong with it.

    Without `decode` an image that begins and ends as its format says is taken at its word: of a damage in between,
    whoever reads its pixels tells. An image whose end is missing, or that must be turned or converted, is decoded always.
    """
    try:
        refuse_large(path.stat().st_size)
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the pixels are what counts
            return _upright(data, decode=decode)
    except UnidentifiedImageError:
        raise DataError("is not an image (JPEG, PNG, WebP, BMP or TIFF)") from None
    except Image.DecompressionBombError:
        raise DataError(f"has more than {MAX_PIXELS // 10**6} million pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"is damaged or cut short ({error})") from None


def _upright(data: bytes, *, decode: bool) -> Upright:
    identity = hashlib.sha256(data).hexdigest()
    with Image.open(io.BytesIO(data), formats=_READ_FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise DataError(
                f"has {image.width}x{image.height} px, at most {MAX_PIXELS // 10**6} million pixels are taken"
            )
        if decode or not _ends(str(image.format), data):
            image.load()  # a truncated file shows only now
        # Of a PNG, Pillow would decode the pixels to learn its orientation.
        bare = image.format == "PNG" and b"eXIf" not in data
        upright = bare or image.getexif().get(_ORIENTATION, 1) in (0, 1)
        if upright and image.format in _KEPT_FORMATS:
            return Upright(identity, data, _KEPT_FORMATS[image.format], image.width, image.height)
        turned = ImageOps.exif_transpose(image).convert("RGB")
        buffer, size = io.BytesIO(), (turned.width, turned.height)
        if image.format in ("JPEG", "MPO"):
            turned.save(buffer, "JPEG", quality=95, subsampling=0)
            original = rgb_sha256(np.asarray(turned))
            return Upright(
                identity, buffer.getvalue(), ".jpg", *size, untouched=False, original_pixels=original
            )
        turned.save(buffer, "PNG")
        return Upright(identity, buffer.getvalue(), ".png", *size, untouched=False)


def _ends(kind: str, data: bytes) -> bool:
    """Say whether a file surely reaches to its end; where False, decoding tells."""
    match kind:
        case "JPEG" | "MPO":
            # Within a scan, 0xFF is never followed by these: the last scan must be behind any thumbnail's, and end.
            return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda") > 0
        case "PNG":
            return b"IEND" in data[-12:]
        case "WEBP":
            return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    return False
