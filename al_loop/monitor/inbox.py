"""New photographs from where they come in, into the pool: each file once, and only when it is whole."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from al_loop.core.console import Progress
from al_loop.core.errors import AlLoopError, ConfigError
from al_loop.images.import_sources import chunks, import_files, note, states
from al_loop.images.sources import FileStat, SkippedFiles, files_at
from al_loop.state.workspace import Workspace


@dataclass
class Taken:
    """What a look at the inbox brought. added: ids of new images."""

    added: list[str] = field(default_factory=list)
    duplicates: int = 0
    waiting: list[str] = field(default_factory=list)  # still being written
    refused: list[tuple[str, str]] = field(default_factory=list)  # and why; told once
    missing: list[str] = field(default_factory=list)  # places that cannot be looked at, and why
    passed_over: str = ""  # files of formats that are not read
    notes: dict[str, int] = field(default_factory=dict)  # what was done to pixels, and to those of how many


def take(workspace: Workspace, progress: Progress | None = None) -> Taken:
    """Add what is new in the inbox to the pool. Files that were taken or refused are not read again.

    A file waits while its size or time changes, or changed less than min_age_s ago; when the clock stands before that
    time, until two looks have seen it the same.
    """
    found, ready, skipped = Taken(), list[FileStat](), SkippedFiles()
    for place in workspace.config.monitor.inbox:
        try:
            ready += _ready(workspace, place, found, skipped)
        except FileNotFoundError:
            found.missing.append(
                f"{place}: no such folder. Make it, or correct monitor.inbox in al-loop.toml"
            )
        except ConfigError as error:
            found.missing.append(f"{place}: {error}. Correct monitor.inbox in al-loop.toml")
        except (AlLoopError, OSError, ValueError) as error:
            found.missing.append(f"{place}: {error}")
    found.missing += [f"{where}: {reason}" for where, reason in skipped.closed]
    found.passed_over = skipped.line()
    done = 0
    for report in import_files(workspace, ready, again=False):
        found.added += report.added
        found.duplicates += report.duplicates
        found.refused += report.refused
        found.notes = dict(Counter(found.notes) + report.notes)
        found.missing += [f"{where}: {reason}" for where, reason in report.unreached]
        done += report.files
        if progress:
            progress(done, len(ready))
    return found


def _ready(workspace: Workspace, place: str, found: Taken, skipped: SkippedFiles) -> Iterator[FileStat]:
    """Yield the files of a place that are whole and not known; those that are not whole are noted."""
    min_age_s = workspace.config.monitor.min_age_s
    for chunk in chunks(files_at(place, skipped)):
        for file, state in zip(chunk, states(workspace, chunk), strict=True):
            if state in ("taken", "refused"):
                continue
            if _whole(file, min_age_s, seen_before=state == "waiting"):
                yield file
            else:
                found.waiting.append(file.name)
                note(workspace, file, "waiting")


def _whole(file: FileStat, min_age_s: float, *, seen_before: bool) -> bool:
    if file.changed is None:
        return True
    age = time.time() - file.changed
    # A time to come: the clock jumped back, or the camera's is ahead. Then only what stays the same is whole.
    return age >= min_age_s if age >= 0 else seen_before
