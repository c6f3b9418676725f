"""Check the stored images of a workspace, and repair them."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from itertools import islice
from pathlib import Path

from al_loop.core.errors import DataError
from al_loop.core.files import file_sha256, name_from_text, read_regular, write_atomically
from al_loop.images.ingest import MAX_BYTES, prepare_image
from al_loop.images.sources import files_at, is_url
from al_loop.state.database.image_table import ImageRow, image_count, stream_images
from al_loop.state.workspace import Workspace
from render.core.errors import PictureError
from render.pixels.decode import decode, read_header

Progress = Callable[[int, int], None]
_CHUNK, _READERS = 256, 4
#: Of the others the file is what was stored, or the row is wrong.
_REPAIRED = ("missing", "changed", "unreadable")
_PLACE = re.compile(r"images/[0-9a-f]{2}/[0-9a-f]+\.[a-z]+")  # a workspace from elsewhere may name any


class CheckDepth(Enum):
    """How much is checked: existence of the file, every byte, or decoding."""

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
    """Outcome of a repair.

    lost: files of those that could not be put back, and why.
    """

    fixed: list[str] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)


def stored_rows(workspace: Workspace) -> Iterator[ImageRow]:
    """Yield the rows of all images stored in the workspace, by id."""
    for row in stream_images(workspace.store):
        if not is_url(row.file):
            yield row


def problem_of(workspace: Workspace, row: ImageRow, look: CheckDepth) -> ImageProblem | None:
    """Return the problem of a stored image, None where there is none."""
    path = workspace.root / row.file
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return ImageProblem(row, "unreadable", "is no regular file")
        if status.st_size == 0:
            return ImageProblem(row, "changed", "is empty")
        return None if look is CheckDepth.QUICK else _content(row, read_regular(path, MAX_BYTES), look)
    except FileNotFoundError:
        return ImageProblem(row, "missing", "the file is gone")
    except PictureError as error:
        return ImageProblem(row, "damaged", str(error))
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        return ImageProblem(
            row, "unreadable", f"cannot be read ({getattr(error, 'strerror', None) or error})"
        )


def _content(row: ImageRow, data: bytes, look: CheckDepth) -> ImageProblem | None:
    if hashlib.sha256(data).hexdigest() != row.stored_sha256:
        return ImageProblem(row, "changed", "its bytes are not those that were stored")
    header = read_header(data)
    if look is CheckDepth.DEEP:
        decode(data, turn=False)
    if (header.width, header.height) == (row.width, row.height):
        return None
    # Boxes are in pixels of the size that the database says.
    text = f"is {header.width}x{header.height} px, the database says {row.width}x{row.height}"
    return ImageProblem(row, "size", text)


def problems(
    workspace: Workspace, look: CheckDepth, on_progress: Progress | None = None
) -> Iterator[ImageProblem]:
    """Yield the problems of all stored images; memory does not grow with their number."""
    total, done = image_count(workspace.store), 0
    rows = stored_rows(workspace)
    with ThreadPoolExecutor(_READERS) as readers:
        while chunk := list(islice(rows, _CHUNK)):
            for wrong in readers.map(partial(problem_of, workspace, look=look), chunk):
                if wrong is not None:
                    yield wrong
            done += len(chunk)
            if on_progress:
                on_progress(done, total)


def repair_images(
    workspace: Workspace, places: Sequence[str], on_progress: Progress | None = None
) -> RepairReport:
    """Store missing or changed images again, from files at the places or from their sources.

    Only bytes that give what was stored, by its hash, are written.
    """
    items = problems(workspace, CheckDepth.BYTES, on_progress)
    wrong = {
        item.row.id: item.row for item in items if item.kind in _REPAIRED and _PLACE.fullmatch(item.row.file)
    }
    report = RepairReport()
    for path in _sources(list(wrong.values()), places):
        if not wrong:
            break
        with suppress(OSError, DataError):
            row = wrong.get(file_sha256(path))
            if row is not None and _write(workspace, row, path):
                report.fixed.append(row.id)
                del wrong[row.id]
    report.lost += [(row.file, f"came from {row.source}") for row in wrong.values()]
    return report


def _sources(rows: Sequence[ImageRow], places: Sequence[str]) -> Iterator[Path]:
    if not places:
        yield from [Path(name_from_text(row.source)) for row in rows]
    for place in places:
        try:
            yield from (Path(name_from_text(seen.path)) for seen in files_at(place))
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(
                f"nothing at {place}: expected files, folders, or a glob such as 'photos/*.jpg'"
            ) from None


def _write(workspace: Workspace, row: ImageRow, source: Path) -> bool:
    """Store an image again if its source gives the same bytes; return whether it did."""
    data = read_regular(source, MAX_BYTES)
    if row.stored_sha256 != row.id:  # it was turned or converted
        data = prepare_image(source, decode=True).data
    if hashlib.sha256(data).hexdigest() != row.stored_sha256:
        return False
    target = workspace.root / row.file
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, data)
    return True
