"""Store images in the workspace: each once, upright and checked, under the hash of its bytes."""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from al_loop.core.errors import DataError
from al_loop.core.files import name_as_text, printable, read_regular
from al_loop.core.urls import masked
from al_loop.images.identity import hash_all, hash_known, picture_sha256
from al_loop.state.database.image_table import ImageRow, find_by_bytes, insert_images, validation_sizes
from al_loop.state.database.pixel_table import images_with_pixels, write_pixels
from al_loop.state.workspace import Workspace, now
from render.core.errors import PictureError
from render.pixels.decode import MAX_BYTES, MAX_PIXELS, DecodedImage, check_pixels, read_header
from render.pixels.decode import decode as decode_image

#: Formats that browsers show and all readers accept are kept. Other formats are stored as PNG.
SUFFIX = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp"}
_SYNC_THREADS = 16  # the file system then writes its journal once for many files
_MAX_NOTES = 10  # kinds of notes that are shown


@dataclass
class IngestReport:
    """Outcome of an import. Each file is counted once.

    added: ids of new images.
    matched: ids of the known images that duplicates are.
    known: number of files that were recognised without reading them.
    refused, unreached: unusable files, and objects that cannot be fetched, with reasons.
    moved: images that left the pool for an evaluation set.
    kept: images whose labels differ from a COCO file, and the difference. Their labels are unchanged.
    notes: conversions of pixels, with the number of files.
    """

    added: list[str] = field(default_factory=list)
    duplicates: int = 0
    known: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    unreached: list[tuple[str, str]] = field(default_factory=list)
    moved: int = 0
    kept: list[tuple[str, str]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    matched: list[str] = field(default_factory=list)

    @property
    def files(self) -> int:
        """Number of files."""
        listed = len(self.added) + len(self.refused) + len(self.unreached) + len(self.kept)
        return listed + self.duplicates + self.known + self.moved


def conversion_lines(notes: Mapping[str, int]) -> list[str]:
    """Return a line with the number of files for each kind of conversion."""
    lines = [f"{count} {text}" for text, count in Counter(notes).most_common(_MAX_NOTES)]
    if len(notes) > _MAX_NOTES:
        lines.append(f"and {len(notes) - _MAX_NOTES} more kinds")
    scaled = [text for text in notes if text.startswith("scaled")]
    if len(scaled) > 1 or any("own values" in text and notes[text] > 1 for text in scaled):
        lines.append(
            "brightness compares only between files that were scaled alike: see docs/inputs.md, Photographs"
        )
    return lines


@dataclass(frozen=True)
class PreparedImage:
    """A checked image, ready to store.

    id, stored_sha256: SHA-256 of the file, and of `data`, which differs if the image was rotated or
        converted.
    pixels: hash of the pixels in `data`, if they were decoded.
    original_pixels: hash of the file's upright pixels, if `data` has others (JPEG).
    notes: conversions of its pixels.
    """

    id: str
    stored_sha256: str
    data: bytes
    suffix: str
    width: int
    height: int
    pixels: str | None = None
    original_pixels: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def untouched(self) -> bool:
        """Whether it is stored byte for byte."""
        return self.id == self.stored_sha256


@dataclass
class _Pending:
    """An image of a batch.

    file: None for a linked image.
    data: bytes of the image if they must be compared.
    hashes: hashes of pixels, by their source: 'stored' or 'original'.
    """

    row: ImageRow
    report: IngestReport
    file: Path | None
    data: bytes
    hashes: dict[str, str]


class IngestBatch:
    """Images that are stored together: first the files, synced to the disk, then the rows.

    A kill may leave files without a row, which the next run writes again.
    """

    def __init__(self, workspace: Workspace, role: str) -> None:
        self._workspace, self._role = workspace, role
        self._images: dict[str, _Pending] = {}
        self._stored: dict[str, str] = {}  # ids by SHA-256 of file and of stored data
        self._sizes = validation_sizes(workspace.store) if role == "pool" else set()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._images)

    def put(self, image: PreparedImage, source: str, report: IngestReport, *, linked: bool = False) -> str:
        """Write the file of an image, unless it is known or linked. Return the id of the stored image."""
        source = name_as_text(source)
        hashes = (image.id, image.stored_sha256)
        known = find_by_bytes(self._workspace.store, *hashes)
        known = known or next((self._stored[digest] for digest in hashes if digest in self._stored), None)
        if known is not None:
            report.duplicates += 1
            report.matched.append(known)
            return known
        linked = linked and image.untouched
        shown = masked(source)
        if linked and shown != source:
            raise DataError(
                f"{shown} stays in its store, and its URL contains a login or a signature, which is not "
                "stored. Give the credentials by the variables or files of the store, or set "
                'pool.objects = "copy"'
            )
        file = None if linked else self._write(image)
        place = source if file is None else file.relative_to(self._workspace.root).as_posix()
        size = (image.width, image.height)
        row = ImageRow(image.id, place, image.stored_sha256, *size, shown, self._role, now())
        pixels = {"stored": image.pixels, "original": image.original_pixels}
        data = image.data if linked and size in self._sizes else b""
        pending = _Pending(row, report, file, data, {kind: name for kind, name in pixels.items() if name})
        self._images[image.id] = pending
        self._stored |= dict.fromkeys(hashes, image.id)
        report.added.append(image.id)
        report.notes.update(image.notes)
        return image.id

    def _write(self, image: PreparedImage) -> Path:
        target = self._workspace.root / "images" / image.id[:2] / f"{image.id}{image.suffix}"
        try:
            target.write_bytes(image.data)
        except FileNotFoundError:
            target.parent.mkdir(parents=True)
            target.write_bytes(image.data)
        return target

    def drop(self, name: str) -> None:
        """Remove an image of this batch."""
        file = self._images.pop(name).file
        if file is not None:
            file.unlink()

    def sync(self) -> None:
        """Drop copies of evaluation images, and sync the files to the disk."""
        self._drop_copies()
        files = [image.file for image in self._images.values() if image.file is not None]
        with ThreadPoolExecutor(_SYNC_THREADS) as executor:
            list(executor.map(_sync, files))

    def _drop_copies(self) -> None:
        """Drop images with the pixels of an evaluation image. Only images of the same size are decoded."""
        images = self._images.values()
        same_size = [image for image in images if (image.row.width, image.row.height) in self._sizes]
        if not same_size:
            return
        hash_known(self._workspace, self._sizes, validation=True)
        unhashed = [image for image in same_size if "stored" not in image.hashes]
        pictures = [image.data if image.file is None else image.file.read_bytes for image in unhashed]
        for image, digest in zip(unhashed, hash_all(pictures), strict=True):
            if digest:
                image.hashes["stored"] = digest
        hashes = {digest for image in images for digest in image.hashes.values()}
        copied = images_with_pixels(self._workspace.store, hashes, validation=True)
        for image in list(images):
            originals = [name for digest in image.hashes.values() for name in copied.get(digest, ())]
            if originals:
                self.drop(image.row.id)
                image.report.added.remove(image.row.id)
                image.report.duplicates += 1
                image.report.matched.append(originals[0])

    def insert(self) -> None:
        """Write the rows. Requires a transaction."""
        insert_images(self._workspace.store, (image.row for image in self._images.values()))
        hashes = [(name, *pair) for name, image in self._images.items() for pair in image.hashes.items()]
        write_pixels(self._workspace.store, hashes)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prepare_image(path: Path, *, decode: bool = False) -> PreparedImage:
    """Read, check and convert an image file. Raises DataError with the problem.

    decode: always decode the image, to find damage inside. Otherwise, an image is only decoded if its end is
        missing, or if it must be rotated or converted.
    """
    try:
        data = read_regular(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from error
    return prepare_bytes(data, decode=decode)


def prepare_bytes(data: bytes, *, decode: bool = False) -> PreparedImage:
    """Check and convert the bytes of an image file, as `prepare_image` does."""
    try:
        return _prepare(data, decode=decode)
    except PictureError as error:
        raise DataError(str(error)) from None
    except Exception as error:  # such as a lack of memory; the other files are imported
        raise DataError(f"cannot be imported ({printable(error) or type(error).__name__})") from None


def _prepare(data: bytes, *, decode: bool) -> PreparedImage:
    identity = hashlib.sha256(data).hexdigest()
    header = read_header(data)
    size = (header.width, header.height)
    check_pixels(*size, MAX_PIXELS)
    notes: tuple[str, ...] = ()
    if header.format == "JPEG" and header.pictures > 1:
        notes = (f"{header.pictures} images in a JPEG: the first is taken",)
    opaque = header.plain and not header.alpha
    if opaque and not decode and _has_proper_end(header.format, data):
        return PreparedImage(identity, identity, data, SUFFIX[header.format], *size, notes=notes)
    picture = decode_image(data, turn=not opaque)
    pixels = picture_sha256(picture.pixels)
    if opaque or (header.plain and not picture.notes):  # no pixel is transparent
        return PreparedImage(identity, identity, data, SUFFIX[header.format], *size, pixels, notes=notes)
    stored, suffix = _encode(picture, header.format)
    height, width = picture.pixels.shape[:2]
    stored_sha256 = hashlib.sha256(stored).hexdigest()
    notes = (*notes, *picture.notes)
    prepared = PreparedImage(identity, stored_sha256, stored, suffix, width, height, notes=notes)
    lossy = suffix == ".jpg"
    return replace(prepared, original_pixels=pixels) if lossy else replace(prepared, pixels=pixels)


def _encode(picture: DecodedImage, kind: str) -> tuple[bytes, str]:
    """Encode an image for storage: JPEG stays JPEG, other formats become PNG."""
    buffer = io.BytesIO()
    rgb = picture.pixels[..., ::-1]
    if kind == "JPEG":
        Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, "JPEG", quality=95, subsampling=0)
        return buffer.getvalue(), ".jpg"
    Image.fromarray(np.ascontiguousarray(rgb[..., 0] if picture.grey else rgb)).save(buffer, "PNG")
    return buffer.getvalue(), ".png"


def _has_proper_end(kind: str, data: bytes) -> bool:
    """Whether a file has a proper end. If False, only decoding shows whether it is complete."""
    match kind:
        case "JPEG":
            # These two markers do not occur within a scan. The last scan, after that of any thumbnail, must
            # have an end.
            return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda") > 0
        case "PNG":
            return b"IEND" in data[-12:]
        case "WEBP":
            return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    return False
