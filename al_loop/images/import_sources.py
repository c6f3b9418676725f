"""Files into the pool, each read once: what was taken is known again by its place, size and stamp, unopened."""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from al_loop.core.errors import ConfigError, DataError
from al_loop.core.urls import masked
from al_loop.images.ingest import MAX_BYTES, IngestReport, Progress, Shelf, load_upright, refuse_large
from al_loop.images.object_stores import read
from al_loop.images.sources import GONE, Aside, Seen, files_at, is_url
from al_loop.state.workspace import Workspace, now
from render.core.tempdirs import scratch_folder

#: Files, or bytes, that are read and noted together; a killed run reads at most so much again.
BATCH, BATCH_BYTES = 256, 64 << 20
#: Files that could not be used which are named; of the others there is a number.
NAMED = 20
_LOOKED_UP = 4096  # known files are found by one query for so many
_PASSING = {
    getattr(errno, name)
    for name in [
        "EACCES",
        "EPERM",
        "EIO",
        "ESTALE",
        "ENOENT",
        "ETIMEDOUT",
        "EMFILE",
        "ENFILE",
        "ENOMEM",
        "EAGAIN",
        "EBUSY",
    ]
}
_FETCHED = 16  # objects at a time: a store answers late, not slowly


@dataclass
class Intake:
    """What became of the files of some places, in numbers; of those that could not be used the first by name.

    known: recognised, unopened or by their bytes.  unreached: objects that could not be fetched.
    notes: what was done to pixels, with the number of files.  aside: what was not listed.
    """

    added: int = 0
    known: int = 0
    refused: int = 0
    unreached: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    aside: Aside = field(default_factory=Aside)


def add_places(
    workspace: Workspace, places: Sequence[str], on_progress: Progress | None = None, *, decode: bool = False
) -> Intake:
    """Add the files of folders, globs, URLs and paths to the pool; safe to repeat.

    Raises DataError where there is nothing, before anything is added.
    """
    aside = Aside()
    total = sum(1 for place in places for _ in _listed(place, aside))
    if not total and not aside.closed:
        raise DataError(
            f"no image files in {', '.join(places)}: expected JPEG, PNG, WebP, BMP or TIFF"
            f"{'; ' if aside.suffixes else ''}{aside.line()}"
        )
    found, done = Intake(refused=len(aside.closed), reasons=aside.closed[:NAMED], aside=aside), 0
    listed = (seen for place in places for seen in _listed(place))
    for report in take_in(workspace, listed, decode=decode):
        found.added += len(report.added)
        found.known += report.known + report.duplicates
        found.refused += len(report.refused)
        found.unreached += len(report.unreached)
        found.notes += report.notes
        found.reasons += [*report.refused, *report.unreached][: NAMED - len(found.reasons)]
        done += report.files
        if on_progress:
            on_progress(done, max(total, done))
    return found


def _listed(place: str, aside: Aside | None = None) -> Iterator[Seen]:
    try:
        yield from files_at(place, aside)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"nothing at {place.strip() or repr(place)}: expected files, folders, a glob such as 'photos/*.jpg', or the URL of an object store"
        ) from None
    except OSError as error:
        raise DataError(f"{place}: cannot be looked into ({error.strerror})") from None
    except (ConfigError, DataError) as error:
        raise DataError(f"{place}: {error}") from None


def take_in(
    workspace: Workspace, files: Iterable[Seen], *, decode: bool = False, again: bool = True
) -> Iterator[IngestReport]:
    """Add files to the pool; yields what became of them, batch by batch: memory does not grow with their number.

    decode: look at every pixel, and not only at the header; see `al_loop.images.ingest.load_upright`.
    again: what was refused is read, and refused, anew; else it is passed over as known.
    """
    for chunk in chunks(files):
        skipped = {"taken"} if again else {"taken", "refused"}
        fresh = [
            seen
            for seen, state in zip(chunk, states(workspace, chunk), strict=True)
            # A place that has neither time nor tag, as a page of links, does not say whether it is the same file.
            if state not in skipped or not seen.stamp
        ]
        if len(fresh) < len(chunk):
            yield IngestReport(known=len(chunk) - len(fresh))
        for batch in _batches(fresh):
            yield _read(workspace, batch, decode=decode)


def chunks(files: Iterable[Seen]) -> Iterator[list[Seen]]:
    """Cut a listing into pieces whose states one query finds."""
    rest = iter(files)
    while chunk := list(islice(rest, _LOOKED_UP)):
        yield chunk


def states(workspace: Workspace, files: Sequence[Seen]) -> list[str | None]:
    """Return what is remembered of each file as it lies there: its state, or None where it is new or has changed."""
    rows = workspace.store.rows(
        "SELECT path, size, stamp, state FROM inbox WHERE path IN (SELECT value FROM json_each(?))",
        json.dumps([seen.name for seen in files]),
    )
    found = {(row["path"], row["size"], row["stamp"]): row["state"] for row in rows}
    return [found.get((seen.name, seen.size, seen.stamp)) for seen in files]


def note(workspace: Workspace, seen: Seen, state: str, reason: str = "") -> None:
    """Remember a file: 'taken', 'refused' and why, or 'waiting' for it to be whole."""
    workspace.store.execute(
        "INSERT OR REPLACE INTO inbox VALUES (?, ?, ?, ?, ?, ?)",
        *(seen.name, seen.size, seen.stamp, state, masked(reason), now()),
    )


def _batches(files: Sequence[Seen]) -> Iterator[list[Seen]]:
    batch: list[Seen] = []
    size = 0
    for seen in files:
        if batch and (len(batch) == BATCH or size + seen.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(seen)
        size += seen.size
    if batch:
        yield batch


def _read(workspace: Workspace, files: Sequence[Seen], *, decode: bool) -> IngestReport:
    """Add files, and note what became of them."""
    report, shelf = IngestReport(), Shelf(workspace, "pool")
    noted: list[tuple[Seen, str, str]] = []
    linked = workspace.config.pool.objects == "link"
    fetches = any(is_url(seen.path) for seen in files)
    with scratch_folder("inbox") if fetches else nullcontext(Path()) as folder:
        for seen, path in _fetched(files, folder, report):
            try:
                refuse_large(seen.size)
                image = load_upright(path, decode=decode)
                shelf.put(image, seen.path, report, linked=linked and is_url(seen.path))
                noted.append((seen, "taken", ""))
            except DataError as error:
                report.refused.append((seen.name, str(error)))
                if not (_may_pass(error) and seen.stamp != GONE):
                    noted.append((seen, "refused", str(error)))
    shelf.sync()
    with workspace.store.transaction():
        shelf.insert()
        for seen, state, reason in noted:
            note(workspace, seen, state, reason)
    return report


def _may_pass(error: DataError) -> bool:
    """Say whether a file may be read the next time: it is about rights, the disk or this process, not about the file."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _PASSING


def _fetched(files: Sequence[Seen], folder: Path, report: IngestReport) -> Iterator[tuple[Seen, Path]]:
    """Each file, or a copy of an object; what could not be fetched goes into the report."""
    if not any(is_url(seen.path) for seen in files):
        yield from ((seen, Path(seen.path)) for seen in files)
        return

    def copied(number: int) -> Path | str:
        seen = files[number]
        if not is_url(seen.path) or seen.size > MAX_BYTES:  # who reads it says so
            return Path(seen.path)
        target = folder / str(number)
        try:
            target.write_bytes(read(seen.path))
        except DataError as error:
            return str(error)
        return target

    with ThreadPoolExecutor(_FETCHED) as crew:
        for seen, found in zip(files, crew.map(copied, range(len(files))), strict=True):
            if isinstance(found, Path):
                yield seen, found
            else:
                report.unreached.append((seen.name, found))
