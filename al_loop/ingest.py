"""Photographs into the workspace: each once, upright, checked, by the hash of its bytes."""

from __future__ import annotations

import glob
import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from al_loop.coco import missing_classes, read_coco
from al_loop.errors import DataError
from al_loop.files import write_atomically
from al_loop.library import VALIDATION, boxes_to_json
from al_loop.workspace import Workspace, now

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
# What a browser shows and OpenCV reads as it is; anything else is stored as PNG.
_KEPT_FORMATS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp"}
_READ_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")  # MPO, a JPEG of several frames, is read as JPEG
MAX_PIXELS = 100_000_000
MAX_BYTES = 256 << 20
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright

Progress = Callable[[int, int], None]


@dataclass
class IngestReport:
    """What became of the files: every one is in exactly one of the four."""

    added: list[str] = field(default_factory=list)  # image ids
    duplicates: int = 0
    refused: list[tuple[Path, str]] = field(default_factory=list)
    moved: int = 0  # pool images that are validation images from now on


@dataclass(frozen=True)
class Upright:
    """A checked image, ready to store."""

    id: str
    data: bytes
    suffix: str
    width: int
    height: int


def find_images(patterns: Sequence[str]) -> Iterator[Path]:
    """Yield the image files that paths, folders (searched below) and glob patterns stand for.

    A file named outright is yielded whatever its suffix, so that ingest can say what is wrong with it.
    Raises DataError for a pattern that matches nothing.
    """
    for pattern in patterns:
        matches = [Path(pattern)] if Path(pattern).exists() else [Path(p) for p in sorted(glob.glob(pattern))]
        if not matches:
            raise DataError(f"nothing at {pattern}: expected files, folders or a glob such as 'photos/*.jpg'")
        for match in matches:
            if match.is_dir():
                yield from (
                    p for p in sorted(match.rglob("*")) if p.suffix.lower() in SUFFIXES and p.is_file()
                )
            else:
                yield match


def add_images(
    workspace: Workspace,
    files: Sequence[Path],
    on_progress: Progress | None = None,
    sources: Mapping[Path, str] | None = None,
) -> IngestReport:
    """Add photographs to the pool; safe to repeat. A file that cannot be used is refused by name.

    sources: where a file came from, if it is a copy.
    """
    report = IngestReport()
    for number, path in enumerate(files, start=1):
        source = (sources or {}).get(path, str(path))
        try:
            _store(workspace, load_upright(path), source, "pool", report)
        except DataError as error:
            report.refused.append((path, str(error)))
        if on_progress:
            on_progress(number, len(files))
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
    report = IngestReport()
    for number, item in enumerate(found.images, start=1):
        try:
            upright = load_upright(item.path)
            if (upright.width, upright.height) != (item.width, item.height):
                raise DataError(
                    f"is {upright.width}x{upright.height} px upright, {coco.name} says {item.width}x{item.height}"
                )
            _store(workspace, upright, str(item.path), "validation", report)
            workspace.store.execute("INSERT OR IGNORE INTO sets VALUES (?, ?)", name, upright.id)
            workspace.store.execute(
                "INSERT OR REPLACE INTO labels (image_id, status, boxes, updated_at) VALUES (?, ?, ?, ?)",
                upright.id,
                "labelled" if len(item.boxes) else "empty",
                boxes_to_json(item.boxes),
                now(),
            )
        except DataError as error:
            report.refused.append((item.path, str(error)))
        if on_progress:
            on_progress(number, len(found.images))
    return report, found.problems


def load_upright(path: Path) -> Upright:
    """Read, check and turn an image upright; DataError says what is wrong with it."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"has {size >> 20} MiB, at most {MAX_BYTES >> 20} are taken")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the pixels are what counts
            return _upright(data)
    except UnidentifiedImageError:
        raise DataError("is not an image (JPEG, PNG, WebP, BMP or TIFF)") from None
    except Image.DecompressionBombError:
        raise DataError(f"has more than {MAX_PIXELS // 10**6} million pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"is damaged or cut short ({error})") from None


def _upright(data: bytes) -> Upright:
    identity = hashlib.sha256(data).hexdigest()
    with Image.open(io.BytesIO(data), formats=_READ_FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise DataError(
                f"has {image.width}x{image.height} px, at most {MAX_PIXELS // 10**6} million pixels are taken"
            )
        image.load()  # a truncated file shows only now
        upright = image.getexif().get(_ORIENTATION, 1) in (0, 1)
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
        return Upright(identity, buffer.getvalue(), suffix, turned.width, turned.height)


def _store(workspace: Workspace, image: Upright, source: str, role: str, report: IngestReport) -> None:
    known = workspace.store.row("SELECT role FROM images WHERE id = ?", image.id)
    if known is not None:
        if role == "validation" and known["role"] == "pool":
            workspace.store.execute("UPDATE images SET role = 'validation' WHERE id = ?", image.id)
            report.moved += 1
        else:
            report.duplicates += 1
        return
    relative = Path("images") / image.id[:2] / f"{image.id}{image.suffix}"
    target = workspace.root / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, image.data)
    workspace.store.execute(
        "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(arrived), 0) + 1 FROM images))",
        image.id,
        str(relative),
        hashlib.sha256(image.data).hexdigest(),
        image.width,
        image.height,
        source,
        role,
        now(),
    )
    report.added.append(image.id)
