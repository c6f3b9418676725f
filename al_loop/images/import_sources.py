"""Import files into the pool. Known files are recognised by path, size and stamp, without opening them."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from al_loop.core.console import Progress
from al_loop.core.errors import ConfigError, DataError
from al_loop.core.urls import masked
from al_loop.images.healthy import HealthyReport, label_as_empty
from al_loop.images.ingest import IngestBatch, IngestReport, prepare_image
from al_loop.images.object_stores import read
from al_loop.images.sources import GONE, SUFFIXES, VIDEOS, FileStat, SkippedFiles, files_at, is_url
from al_loop.images.videos import FrameRule, add_video, is_video
from al_loop.state.database.inbox_table import InboxRow, find_seen, write_seen
from al_loop.state.workspace import Workspace, now
from render.core.tempdirs import scratch_folder
from render.pixels.decode import MAX_BYTES

#: Number of files, and of bytes, that are imported together. A kill loses at most these.
BATCH, BATCH_BYTES = 256, 64 << 20
#: Number of unusable files that are listed. The others are only counted.
NAMED = 20
_QUERY_SIZE = 4096  # files per query for known files
#: Errors after which the next run tries a file again.
_TRANSIENT = {
    errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOENT, errno.ETIMEDOUT, errno.EMFILE,
    errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY,
}  # fmt: skip
_FETCHED = 16  # objects at a time: stores have a high latency
_NOT_READ = "is a video in an object store: copy it to this machine"
_NO_RULE = "is a video: to add its frames, give --every SECONDS or --changed"
_TAKEN = ("taken",)  # state of files that are in the pool


@dataclass
class ImportSummary:
    """Counts of an import, as in `IngestReport`.

    refused: includes folders that cannot be listed.
    reasons: reasons for the first files that were refused or not reached.
    healthy: outcome of labelling the photographs as empty, if that was asked for.
    """

    added: int = 0
    known: int = 0
    refused: int = 0
    unreached: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    skipped: SkippedFiles = field(default_factory=SkippedFiles)
    healthy: HealthyReport | None = None


def add_sources(
    workspace: Workspace,
    places: Sequence[str],
    on_progress: Progress | None = None,
    *,
    decode: bool = False,
    healthy: bool = False,
    frames: FrameRule | None = None,
) -> ImportSummary:
    """Add the files of folders, globs, URLs and paths to the pool. It is safe to repeat this.

    frames: of videos, which are passed over without it.
    healthy: label them as empty, also those that are in the pool already. All files are read for this.
    Raises DataError if there are no files, before anything is added.
    """
    skipped, videos, total = SkippedFiles(), list[FileStat](), 0
    for place in places:
        for file in list_files(place, skipped):
            total += not is_video(file.path)
            if is_video(file.path):
                videos.append(file)
        if frames and not is_url(place):
            videos += list_files(place, SkippedFiles(), VIDEOS)
    found = [file for file in dict.fromkeys(videos) if is_video(file.path)]
    videos = [file for file in found if frames and not is_url(file.path)]
    reason = _NOT_READ if frames else _NO_RULE
    unused = [(file.name, reason) for file in found if file not in videos]
    total += len(videos)
    if not total and not skipped.closed and not unused:
        raise DataError(
            f"no image files in {', '.join(places)}: expected JPEG, PNG, WebP, BMP or TIFF"
            f"{'; ' if skipped.suffixes else ''}{skipped.line()}"
        )
    skipped = skipped.without_videos() if frames else skipped
    closed = [*skipped.closed, *unused]
    summary = ImportSummary(refused=len(closed), reasons=closed[:NAMED], skipped=skipped)
    done, ids, skip = 0, list[str](), () if healthy else _TAKEN
    files = (file for place in places for file in list_files(place) if not is_video(file.path))
    of_videos = _frames(workspace, videos, frames, skip) if frames else ()
    for report in chain(import_files(workspace, files, decode=decode, skip=skip), of_videos):
        summary.added += len(report.added)
        summary.known += report.known + report.duplicates
        summary.refused += len(report.refused)
        summary.unreached += len(report.unreached)
        summary.notes += report.notes
        summary.reasons += [*report.refused, *report.unreached][: NAMED - len(summary.reasons)]
        done += report.files
        if healthy:
            ids += [*report.added, *report.matched]
        if on_progress:
            on_progress(done, max(total, done))
    if healthy:
        summary.healthy = label_as_empty(workspace, ids)
    return summary


def _frames(
    workspace: Workspace, videos: Sequence[FileStat], rule: FrameRule, skip: Collection[str]
) -> Iterator[IngestReport]:
    """Add frames of videos. A video whose frames were taken by the same rule is not opened again."""
    for video in videos:
        known = replace(video, path=f"{video.path}#{rule}")
        if states(workspace, [known])[0] in skip:
            yield IngestReport(known=1)
            continue
        refused = False
        for report in add_video(workspace, video, rule):
            refused |= bool(report.refused)
            yield report
        with workspace.store.transaction():
            note(workspace, known, "refused" if refused else "taken")


def list_files(
    place: str, skipped: SkippedFiles | None = None, suffixes: tuple[str, ...] = SUFFIXES
) -> Iterator[FileStat]:
    """Yield files as `files_at` does. Raises DataError if the place does not exist or cannot be listed."""
    try:
        yield from files_at(place, skipped, suffixes)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"nothing at {place.strip() or repr(place)}: expected files, folders, a glob such as "
            "'photos/*.jpg', or the URL of an object store"
        ) from None
    except OSError as error:
        raise DataError(f"{place}: cannot be listed ({error.strerror})") from None
    except (ConfigError, DataError) as error:
        raise DataError(f"{place}: {error}") from None


def import_files(
    workspace: Workspace, files: Iterable[FileStat], *, decode: bool = False, skip: Collection[str] = _TAKEN
) -> Iterator[IngestReport]:
    """Add files to the pool. Yield a report for each batch, so that memory does not grow.

    decode: see `al_loop.images.ingest.prepare_image`.
    skip: recorded states of files that are not read and count as known: "taken", "refused".
    """
    for chunk in chunks(files):
        fresh = [
            file
            for file, state in zip(chunk, states(workspace, chunk), strict=True)
            if state not in skip or not file.stamp  # without a stamp a file may have changed
        ]
        if len(fresh) < len(chunk):
            yield IngestReport(known=len(chunk) - len(fresh))
        for batch in _batches(fresh):
            yield _read(workspace, batch, decode=decode)


def chunks(files: Iterable[FileStat]) -> Iterator[list[FileStat]]:
    """Divide a listing into chunks of one query each."""
    rest = iter(files)
    while chunk := list(islice(rest, _QUERY_SIZE)):
        yield chunk


def states(workspace: Workspace, files: Sequence[FileStat]) -> list[str | None]:
    """Return the recorded state of each file. None if it is new or has changed."""
    rows = find_seen(workspace.store, [file.name for file in files])
    recorded = {(row.path, row.size, row.stamp): row.state for row in rows}
    return [recorded.get((file.name, file.size, file.stamp)) for file in files]


def note(workspace: Workspace, file: FileStat, state: str, reason: str = "") -> None:
    """Record the state of a file: 'taken', 'refused' with the reason, or 'waiting' until it is complete."""
    row = InboxRow(file.name, file.size, file.stamp, state, masked(reason), now())
    write_seen(workspace.store, row)


def _batches(files: Sequence[FileStat]) -> Iterator[list[FileStat]]:
    batch: list[FileStat] = []
    size = 0
    for file in files:
        if batch and (len(batch) == BATCH or size + file.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    if batch:
        yield batch


def _read(workspace: Workspace, files: Sequence[FileStat], *, decode: bool) -> IngestReport:
    """Add files and record their states."""
    report, batch = IngestReport(), IngestBatch(workspace, "pool")
    recorded: list[tuple[FileStat, str, str]] = []
    link = workspace.config.pool.objects == "link"
    fetches = any(is_url(file.path) for file in files)
    with scratch_folder("inbox") if fetches else nullcontext(Path()) as folder:
        for file, path in _fetch(files, folder, report) if fetches else ((f, Path(f.path)) for f in files):
            try:
                if file.size > MAX_BYTES:
                    raise DataError(f"has {file.size >> 20} MiB, at most {MAX_BYTES >> 20} are accepted")
                image = prepare_image(path, decode=decode)
                batch.put(image, file.path, report, linked=link and is_url(file.path))
                recorded.append((file, "taken", ""))
            except DataError as error:
                report.refused.append((file.name, str(error)))
                if file.stamp == GONE or not _is_transient(error):
                    recorded.append((file, "refused", str(error)))
    batch.sync()
    with workspace.store.transaction():
        batch.insert()
        for file, state, reason in recorded:
            note(workspace, file, state, reason)
    return report


def _is_transient(error: DataError) -> bool:
    """Whether the cause, such as permissions or the disk, may be solved at the next run."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _TRANSIENT


def _fetch(files: Sequence[FileStat], folder: Path, report: IngestReport) -> Iterator[tuple[FileStat, Path]]:
    """Yield files, and local copies of objects. Report objects that cannot be fetched."""

    def local_path(number: int) -> Path | str:
        file = files[number]
        if not is_url(file.path) or file.size > MAX_BYTES:  # too large: refused later
            return Path(file.path)
        target = folder / str(number)
        try:
            target.write_bytes(read(file.path))
        except DataError as error:
            return str(error)
        return target

    with ThreadPoolExecutor(_FETCHED) as executor:
        for file, path in zip(files, executor.map(local_path, range(len(files))), strict=True):
            if isinstance(path, Path):
                yield file, path
            else:
                report.unreached.append((file.name, path))
