"""Store images in the workspace: each once, upright and checked, under the hash of its bytes."""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from al_loop.core.errors import DataError
from al_loop.core.files import name_as_text, printable, read_regular
from al_loop.core.urls import masked
from al_loop.images.identity import (
    hash_all,
    hash_known,
    judged_sizes,
    note_pixels,
    picture_sha256,
    same_bytes,
    same_pixels,
)
from al_loop.state.database.image_table import NewImage, insert_images
from al_loop.state.workspace import Workspace, now
from render.core.errors import PictureError
from render.pixels.decode import MAX_BYTES as MAX_BYTES
from render.pixels.decode import MAX_PIXELS, DecodedImage, PictureHeader, check_pixels, read_header
from render.pixels.decode import decode as decode_image

#: What a browser shows and every reader takes as it is keeps its format; anything else is stored as PNG.
SUFFIX = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp"}
_SYNCED = 16  # files at a time: the file system then writes its journal once for many
_NOTED = 10  # kinds of notes that are shown
_BATCH = 256  # files of `add_images` that become part of the workspace together

Progress = Callable[[int, int], None]


@dataclass
class IngestReport:
    """Outcome of an import: each file is in exactly one of the seven.

    known: recognised without being read.
    unreached: objects that could not be fetched, and why; the next run tries again.
    kept: images whose labels differ from those of a file, and how; nothing about them was changed.
    """

    added: list[str] = field(default_factory=list)  # image ids
    duplicates: int = 0
    known: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)  # where, and why
    unreached: list[tuple[str, str]] = field(default_factory=list)
    moved: int = 0  # pool images that are validation images from now on
    kept: list[tuple[str, str]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)  # what was done to pixels, and to those of how many

    @property
    def files(self) -> int:
        """Number of files."""
        told = len(self.added) + len(self.refused) + len(self.unreached) + len(self.kept)
        return told + self.duplicates + self.known + self.moved


def conversion_lines(notes: Mapping[str, int]) -> list[str]:
    """Return a line with the number of files for each kind of conversion."""
    lines = [f"{count} {text}" for text, count in Counter(notes).most_common(_NOTED)]
    if len(notes) > _NOTED:
        lines.append(f"and {len(notes) - _NOTED} more kinds")
    scaled = [text for text in notes if text.startswith("scaled")]
    if len(scaled) > 1 or any("own values" in text and notes[text] > 1 for text in scaled):
        lines.append(
            "brightness compares only between files that were scaled alike: see docs/inputs.md, Photographs"
        )
    return lines


@dataclass(frozen=True)
class PreparedImage:
    """A checked image, ready to store.

    untouched: byte for byte as it came in.
    pixels: hash of what is stored, where it was decoded.
    original_pixels: hash of its upright pixels where storing it has changed them.
    notes: what was done to its pixels.
    """

    id: str
    data: bytes
    suffix: str
    width: int
    height: int
    untouched: bool = True
    pixels: str | None = None
    original_pixels: str | None = None
    notes: tuple[str, ...] = ()


class IngestBatch:
    """Images that are stored together: first their files, synced to the disk, then their rows.

    What a kill leaves behind are files without a row, which the next run writes again.
    """

    def __init__(self, workspace: Workspace, role: str) -> None:
        self._workspace, self._role = workspace, role
        self._rows: dict[str, NewImage] = {}
        self._files: dict[str, Path] = {}
        self._stored: dict[str, str] = {}  # by the hash of what is stored
        self._pixels: dict[tuple[str, str], str] = {}
        self._linked: dict[str, bytes] = {}  # to be compared, and in no file
        self._reports: dict[str, IngestReport] = {}
        self._sizes = judged_sizes(workspace) if role == "pool" else set()

    def put(
        self,
        image: PreparedImage,
        source: str,
        report: IngestReport,
        *,
        linked: bool = False,
    ) -> str:
        """Write an image's file, unless it is known or linked.

        Returns the id by which the image is known now.
        """
        source = name_as_text(source)
        stored = image.id if image.untouched else hashlib.sha256(image.data).hexdigest()
        known = same_bytes(self._workspace, image.id, stored)
        known = known or next((self._stored[h] for h in (image.id, stored) if h in self._stored), None)
        if known is not None:
            report.duplicates += 1
            return known
        in_place = linked and image.untouched
        shown = masked(source)
        if in_place and shown != source:
            raise DataError(
                f"{shown} stays in its store, and its address carries a login or a signature, which is not "
                "written down. Give the store's credentials by its own variables or files, or set "
                'pool.objects = "copy"'
            )
        place = source if in_place else self._write(image)
        size = (image.width, image.height)
        self._rows[image.id] = NewImage(image.id, place, stored, *size, shown, self._role, now())
        self._stored |= {image.id: image.id, stored: image.id}
        if image.pixels:
            self._pixels[image.id, "stored"] = image.pixels
        if image.original_pixels:
            self._pixels[image.id, "original"] = image.original_pixels
        if in_place and size in self._sizes:
            self._linked[image.id] = image.data
        report.added.append(image.id)
        report.notes.update(image.notes)
        self._reports[image.id] = report
        return image.id

    def _write(self, image: PreparedImage) -> str:
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
        """Remove an image of this batch."""
        del self._rows[name]
        if name in self._files:
            self._files.pop(name).unlink()
        self._pixels = {key: found for key, found in self._pixels.items() if key[0] != name}

    def sync(self) -> None:
        """Drop copies of evaluation images, and sync the files to the disk."""
        self._drop_judged()
        if self._files:
            with ThreadPoolExecutor(min(_SYNCED, len(self._files))) as executor:
                list(executor.map(_sync, self._files.values()))
        self._files.clear()

    def _drop_judged(self) -> None:
        """Compare pixels with evaluation images of the same size; only those images are decoded."""
        if not any((row.width, row.height) in self._sizes for row in self._rows.values()):
            return
        hash_known(self._workspace, self._sizes, judged=True)
        compared = [
            name
            for name, row in self._rows.items()
            if (row.width, row.height) in self._sizes and (name, "stored") not in self._pixels
        ]
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
        insert_images(self._workspace.store, self._rows.values())
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
    """Add image files to the pool, also known ones; safe to repeat.

    A file that cannot be used is refused by name.  decode: see `prepare_image`.
    """
    report = IngestReport()
    for start in range(0, len(files), _BATCH):
        batch = IngestBatch(workspace, "pool")
        for number, path in enumerate(files[start : start + _BATCH], start=start + 1):
            try:
                batch.put(prepare_image(path, decode=decode), str(path), report)
            except DataError as error:
                report.refused.append((name_as_text(str(path)), str(error)))
            if on_progress:
                on_progress(number, len(files))
        batch.sync()
        with workspace.store.transaction():
            batch.insert()
    return report


def refuse_large(size: int) -> None:
    """Raise DataError for a file of more than MAX_BYTES, before it is read."""
    if size > MAX_BYTES:
        raise DataError(f"has {size >> 20} MiB, at most {MAX_BYTES >> 20} are taken")


def prepare_image(path: Path, *, decode: bool = False) -> PreparedImage:
    """Read, check and convert an image file; DataError says what is wrong with it.

    Without `decode` an image that begins and ends as its format says is taken at its word: of a damage in
    between, whoever reads its pixels tells. An image whose end is missing, or that must be turned or
    converted, is decoded always.
    """
    try:
        data = read_regular(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from error
    try:
        return _prepare(data, decode=decode)
    except PictureError as error:
        raise DataError(str(error)) from None
    # To store it again may fail as well, for want of memory; the others are to go in.
    except Exception as error:
        raise DataError(f"cannot be taken ({printable(error) or type(error).__name__})") from None


def _prepare(data: bytes, *, decode: bool) -> PreparedImage:
    identity = hashlib.sha256(data).hexdigest()
    header = read_header(data)
    check_pixels(header.width, header.height, MAX_PIXELS)
    notes = (f"{header.pictures} pictures in a JPEG: the first is taken",) if _has_more(header) else ()
    if header.plain and not header.alpha:
        pixels = None
        if decode or not _ends(header.format, data):
            pixels = picture_sha256(decode_image(data, turn=False).pixels)  # a truncated file shows only now
        suffix = SUFFIX[header.format]
        return PreparedImage(identity, data, suffix, header.width, header.height, pixels=pixels, notes=notes)
    picture = decode_image(data)
    if header.plain and not picture.notes:  # nothing is transparent
        return PreparedImage(identity, data, SUFFIX[header.format], header.width, header.height)
    stored, suffix = _stored(picture, header.format)
    height, width = picture.pixels.shape[:2]
    shown = picture_sha256(picture.pixels)
    lossy = suffix == ".jpg"
    return PreparedImage(
        identity,
        stored,
        suffix,
        width,
        height,
        untouched=False,
        pixels=None if lossy else shown,
        original_pixels=shown if lossy else None,
        notes=(*notes, *picture.notes),
    )


def _has_more(header: PictureHeader) -> bool:
    return header.format == "JPEG" and header.pictures > 1


def _stored(picture: DecodedImage, kind: str) -> tuple[bytes, str]:
    """Encode an image for storage: JPEG stays JPEG, anything else becomes PNG."""
    buffer = io.BytesIO()
    if kind == "JPEG":
        colours = Image.fromarray(np.ascontiguousarray(picture.pixels[..., ::-1]))
        colours.save(buffer, "JPEG", quality=95, subsampling=0)
        return buffer.getvalue(), ".jpg"
    shown = picture.pixels[..., 0] if picture.grey else picture.pixels[..., ::-1]
    Image.fromarray(np.ascontiguousarray(shown)).save(buffer, "PNG")
    return buffer.getvalue(), ".png"


def _ends(kind: str, data: bytes) -> bool:
    """Whether a file has its end; where False, decoding tells."""
    match kind:
        case "JPEG":
            # Within a scan, 0xFF is never followed by these: the last scan must be behind any thumbnail's,
            # and end.
            return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda") > 0
        case "PNG":
            return b"IEND" in data[-12:]
        case "WEBP":
            return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    return False
