"""Check the stored images of a workspace, and repair them."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from itertools import islice
from pathlib import Path

from al_loop.core.console import Progress
from al_loop.core.errors import DataError
from al_loop.core.files import file_sha256, name_from_text, read_regular, write_atomically
from al_loop.images.import_sources import list_files
from al_loop.images.ingest import prepare_image
from al_loop.images.sources import is_url
from al_loop.state.database.image_table import ImageRow, image_count, stream_images
from al_loop.state.workspace import Workspace
from render.core.errors import PictureError
from render.pixels.decode import MAX_BYTES, decode, read_header

_CHUNK, _READERS = 256, 4
#: Problems that a repair can solve. In all others, the file is unchanged or the row is wrong.
_REPAIRED = ("missing", "changed", "unreadable")
_PLACE = re.compile(r"images/[0-9a-f]{2}/[0-9a-f]+\.[a-z]+")  # a foreign workspace may name any path


class CheckDepth(Enum):
    """Depth of the check: existence of the file, every byte, or decoding."""

    QUICK = auto()
    BYTES = auto()
    DEEP = auto()


@dataclass(frozen=True)
class ImageProblem:
    """A problem of a stored image: missing, changed, unreadable, damaged, or size."""

    row: ImageRow
    kind: str
    reason: str


@dataclass
class RepairReport:
    """Outcome of a repair. fixed: ids of images. lost: files that could not be restored, with reasons."""

    fixed: list[str] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)


def _problem_of(workspace: Workspace, row: ImageRow, depth: CheckDepth) -> ImageProblem | None:
    path = workspace.root / row.file
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return ImageProblem(row, "unreadable", "is no regular file")
        if status.st_size == 0:
            return ImageProblem(row, "changed", "is empty")
        return None if depth is CheckDepth.QUICK else _content(row, read_regular(path, MAX_BYTES), depth)
    except FileNotFoundError:
        return ImageProblem(row, "missing", "the file is gone")
    except PictureError as error:
        return ImageProblem(row, "damaged", str(error))
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        return ImageProblem(row, "unreadable", f"cannot be read ({reason})")


def _content(row: ImageRow, data: bytes, depth: CheckDepth) -> ImageProblem | None:
    if hashlib.sha256(data).hexdigest() != row.stored_sha256:
        return ImageProblem(row, "changed", "its bytes are not those that were stored")
    header = read_header(data)
    if depth is CheckDepth.DEEP:
        decode(data, turn=False)
    if (header.width, header.height) == (row.width, row.height):
        return None
    # Boxes are in pixels of the size in the database.
    text = f"is {header.width}x{header.height} px, the database says {row.width}x{row.height}"
    return ImageProblem(row, "size", text)


def problems(
    workspace: Workspace, depth: CheckDepth, on_progress: Progress | None = None
) -> Iterator[ImageProblem]:
    """Yield the problems of all stored images. Memory does not grow with their number."""
    total, done = image_count(workspace.store), 0
    rows = (row for row in stream_images(workspace.store) if not is_url(row.file))
    with ThreadPoolExecutor(_READERS) as readers:
        while chunk := list(islice(rows, _CHUNK)):
            yield from filter(None, readers.map(partial(_problem_of, workspace, depth=depth), chunk))
            done += len(chunk)
            if on_progress:
                on_progress(done, total)


def repair_images(
    workspace: Workspace, places: Sequence[str], on_progress: Progress | None = None
) -> RepairReport:
    """Store missing or changed images again, from files at `places` or from their sources.

    A file is written only if its bytes have the stored hash.
    """
    broken = {
        item.row.id: item.row
        for item in problems(workspace, CheckDepth.BYTES, on_progress)
        if item.kind in _REPAIRED and _PLACE.fullmatch(item.row.file)
    }
    report = RepairReport()
    files = (file.path for place in places for file in list_files(place))
    for name in files if places else [row.source for row in broken.values()]:
        if not broken:
            break
        path = Path(name_from_text(name))
        with suppress(OSError, DataError):
            row = broken.get(file_sha256(path))
            if row is not None and _restore(workspace, row, path):
                report.fixed.append(row.id)
                del broken[row.id]
    report.lost += [(row.file, f"came from {row.source}") for row in broken.values()]
    return report


def _restore(workspace: Workspace, row: ImageRow, source: Path) -> bool:
    """Store an image again if its source gives the same bytes. Return whether it was stored."""
    data = read_regular(source, MAX_BYTES)
    if row.stored_sha256 != row.id:  # the image was rotated or converted
        data = prepare_image(source, decode=True).data
    if hashlib.sha256(data).hexdigest() != row.stored_sha256:
        return False
    target = workspace.root / row.file
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, data)
    return True
