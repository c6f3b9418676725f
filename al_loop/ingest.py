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

from PIL import Image, ImageOps, UnidentifiedImageError

from al_loop.boxes import Boxes
from al_loop.coco import missing_classes, read_coco
from al_loop.errors import DataError
from al_loop.library import boxes_to_json
from al_loop.metrics import VALIDATION
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
    """What became of the files: every one is in exactly one of the six.

    known: recognised without being read.  unreached: objects that could not be fetched, and why; the next run tries again.
    """

    added: list[str] = field(default_factory=list)  # image ids
    duplicates: int = 0
    known: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)  # where, and why
    unreached: list[tuple[str, str]] = field(default_factory=list)
    moved: int = 0  # pool images that are validation images from now on

    @property
    def files(self) -> int:
        """Return how many files it is about."""
        told = len(self.added) + len(self.refused) + len(self.unreached)
        return told + self.duplicates + self.known + self.moved


@dataclass(frozen=True)
class Upright:
    """A checked image, ready to store.  untouched: byte for byte as it came in."""

    id: str
    data: bytes
    suffix: str
    width: int
    height: int
    untouched: bool = True


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
        turned = ImageOps.exif_transpose(image)
        buffer = io.BytesIO()
        if image.format in ("JPEG", "MPO"):
            turned.convert("RGB").save(buffer, "JPEG", quality=95, subsampling=0)
            suffix = ".jpg"
        else:
            turned.convert("RGB").save(buffer, "PNG")
            suffix = ".png"
        return Upright(identity, buffer.getvalue(), suffix, turned.width, turned.height, untouched=False)


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
