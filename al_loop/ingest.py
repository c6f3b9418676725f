"""Photographs into the workspace: each once, upright, checked, by the hash of its bytes."""

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

from al_loop.boxes import Boxes
from al_loop.coco import missing_classes, read_coco
from al_loop.errors import DataError
from al_loop.files import read_regular
from al_loop.library import boxes_to_json
from al_loop.metrics import VALIDATION
from al_loop.workspace import Workspace, now
from render.errors import PictureError
from render.pixels import MAX_BYTES as MAX_BYTES
from render.pixels import MAX_PIXELS, DecodedImage, PictureHeader, check_pixels, read_header
from render.pixels import decode as decode_image

#: What a browser shows and every reader takes as it is keeps its format; anything else is stored as PNG.
SUFFIX = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp"}
_SYNCED = 16  # files at a time: the file system then writes its journal once for many
_NOTED = 10  # kinds of notes that are shown
_SHELF = 256  # files of `add_images` that become part of the workspace together

Progress = Callable[[int, int], None]


@dataclass
class IngestReport:
    """What became of the files: every one is in exactly one of the six.

    known: recognised without being read.  unreached: objects that could not be fetched, and why; the next run tries again.
    """

    added: list[str] = field(default_factory=list)  # image ids
    duplicates: int = 0
    known: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)  # where, and why
    unreached: list[tuple[str, str]] = field(default_factory=list)
    moved: int = 0  # pool images that are validation images from now on
    notes: Counter[str] = field(default_factory=Counter)  # what was done to pixels, and to those of how many

    @property
    def files(self) -> int:
        """Return how many files it is about."""
        told = len(self.added) + len(self.refused) + len(self.unreached)
        return told + self.duplicates + self.known + self.moved


def note_lines(notes: Mapping[str, int]) -> list[str]:
    """Say what was done to pixels, a line for each kind with the number of files."""
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
class Upright:
    """A checked image, ready to store.  untouched: byte for byte as it came in.  notes: what was done to its pixels."""

    id: str
    data: bytes
    suffix: str
    width: int
    height: int
    untouched: bool = True
    notes: tuple[str, ...] = ()


class Shelf:
    """Images that become part of the workspace together: files first, on the disk for good, then their rows.

    What a kill leaves behind are files without a row, which the next run writes again.
    """

    def __init__(self, workspace: Workspace, role: str) -> None:
        self._workspace, self._role = workspace, role
        self._rows: dict[str, tuple[object, ...]] = {}
        self._files: list[Path] = []
        self._moved: list[str] = []

    def put(self, image: Upright, source: str, report: IngestReport, *, linked: bool = False) -> None:
        """Write an image's file, unless it is known, or `linked`: stays where it came from, if it may stay as it is."""
        known = self._workspace.store.row("SELECT role FROM images WHERE id = ?", image.id)
        if known is not None and self._role == "validation" and known["role"] == "pool":
            self._moved.append(image.id)
            report.moved += 1
            return
        if known is not None or image.id in self._rows:
            report.duplicates += 1
            return
        stored = image.id if image.untouched else hashlib.sha256(image.data).hexdigest()
        place = source if linked and image.untouched else self._write(image)
        size = (image.width, image.height)
        self._rows[image.id] = (image.id, place, stored, *size, source, self._role, now())
        report.added.append(image.id)
        report.notes.update(image.notes)

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
        self._files.append(target)
        return str(relative)

    def sync(self) -> None:
        """Wait until the files are on the disk."""
        if self._files:
            with ThreadPoolExecutor(min(_SYNCED, len(self._files))) as crew:
                list(crew.map(_sync, self._files))
        self._files.clear()

    def insert(self) -> None:
        """Write the rows, within the caller's transaction."""
        store = self._workspace.store
        for row in self._rows.values():
            store.execute(
                "INSERT INTO images VALUES "
                "(?, ?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(arrived), 0) + 1 FROM images))",
                *row,
            )
        for name in self._moved:
            store.execute("UPDATE images SET role = 'validation' WHERE id = ?", name)


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


def add_validation(
    workspace: Workspace, coco: Path, on_progress: Progress | None = None, name: str = VALIDATION
) -> tuple[IngestReport, list[str]]:
    """Add a labelled COCO set as the fixed validation set, or to another one; return the report and what was left out.

    An image that is in the pool already leaves it: a model must not be judged on what it learns from.
    Raises DataError when a class of the workspace has no box in the validation set, as its AP could not be known;
    of another set when no class has one.
    """
    classes = workspace.config.classes
    found = read_coco(coco, classes)
    missing = missing_classes(found.images, classes)
    if missing and (name == VALIDATION or len(missing) == len(classes)):
        have = [name for name in classes if name not in missing]
        raise DataError(
            f"{coco} has no box of {', '.join(missing)} (it has {', '.join(have) or 'none of the classes'}). "
            "A model cannot be judged on a class without examples: add some and run again."
        )
    report, shelf = IngestReport(), Shelf(workspace, "validation")
    labelled: list[tuple[str, Boxes]] = []
    for number, item in enumerate(found.images, start=1):
        try:
            upright = load_upright(item.path, decode=True)
            if (upright.width, upright.height) != (item.width, item.height):
                raise DataError(
                    f"is {upright.width}x{upright.height} px upright, {coco.name} says {item.width}x{item.height}"
                )
            shelf.put(upright, str(item.path), report)
            labelled.append((upright.id, item.boxes))
        except DataError as error:
            report.refused.append((str(item.path), str(error)))
        if on_progress:
            on_progress(number, len(found.images))
    shelf.sync()
    with workspace.store.transaction():
        shelf.insert()
        for image, boxes in labelled:
            workspace.store.execute("INSERT OR IGNORE INTO sets VALUES (?, ?)", name, image)
            workspace.store.execute(
                "INSERT OR REPLACE INTO labels (image_id, status, boxes, updated_at) VALUES (?, ?, ?, ?)",
                image,
                "labelled" if len(boxes) else "empty",
                boxes_to_json(boxes),
                now(),
            )
    return report, found.problems


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
        data = read_regular(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from None
    try:
        return _upright(data, decode=decode)
    except PictureError as error:
        raise DataError(str(error)) from None


def _upright(data: bytes, *, decode: bool) -> Upright:
    identity = hashlib.sha256(data).hexdigest()
    header = read_header(data)
    check_pixels(header.width, header.height, MAX_PIXELS)
    notes = (f"{header.pictures} pictures in a JPEG: the first is taken",) if _has_more(header) else ()
    if header.plain and not header.alpha:
        if decode or not _ends(header.format, data):
            decode_image(data, turn=False)  # a truncated file shows only now
        return Upright(identity, data, SUFFIX[header.format], header.width, header.height, notes=notes)
    picture = decode_image(data)
    if header.plain and not picture.notes:  # nothing is transparent
        return Upright(identity, data, SUFFIX[header.format], header.width, header.height)
    stored, suffix = _stored(picture, header.format)
    height, width = picture.pixels.shape[:2]
    return Upright(identity, stored, suffix, width, height, untouched=False, notes=(*notes, *picture.notes))


def _has_more(header: PictureHeader) -> bool:
    return header.format == "JPEG" and header.pictures > 1


def _stored(picture: DecodedImage, kind: str) -> tuple[bytes, str]:
    """Return a picture as it is stored: a JPEG that had to be turned as JPEG, any other as PNG."""
    buffer = io.BytesIO()
    if kind == "JPEG":
        colours = Image.fromarray(np.ascontiguousarray(picture.pixels[..., ::-1]))
        colours.save(buffer, "JPEG", quality=95, subsampling=0)
        return buffer.getvalue(), ".jpg"
    shown = picture.pixels[..., 0] if picture.grey else picture.pixels[..., ::-1]
    Image.fromarray(np.ascontiguousarray(shown)).save(buffer, "PNG")
    return buffer.getvalue(), ".png"


def _ends(kind: str, data: bytes) -> bool:
    """Say whether a file surely reaches to its end; where False, decoding tells."""
    match kind:
        case "JPEG":
            # Within a scan, 0xFF is never followed by these: the last scan must be behind any thumbnail's, and end.
            return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda") > 0
        case "PNG":
            return b"IEND" in data[-12:]
        case "WEBP":
            return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    return False
