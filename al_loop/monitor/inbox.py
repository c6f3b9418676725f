"""Add new photographs from the inbox to the pool: each file once, when it is complete."""

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
class InboxReport:
    """Result of reading the inbox.

    added: ids of new images.
    waiting: files that are still being written.
    refused: files and reasons, reported once.
    missing: places that cannot be read, and why.
    passed_over: counts of files in formats that are not read.
    notes: conversion -> number of images.
    """

    added: list[str] = field(default_factory=list)
    duplicates: int = 0
    waiting: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    passed_over: str = ""
    notes: dict[str, int] = field(default_factory=dict)


def read_inbox(workspace: Workspace, progress: Progress | None = None) -> InboxReport:
    """Add new files of the inbox to the pool. Files that were added or refused before are not read again.

    A file waits until its last change is min_age_s ago. If that time is in the future, it waits until two
    checks have seen the same size and time.
    """
    inbox, ready, skipped = InboxReport(), list[FileStat](), SkippedFiles()
    for place in workspace.config.monitor.inbox:
        try:
            ready += _ready(workspace, place, inbox, skipped)
        except FileNotFoundError:
            inbox.missing.append(
                f"{place}: no such folder. Make it, or correct monitor.inbox in al-loop.toml"
            )
        except ConfigError as error:
            inbox.missing.append(f"{place}: {error}. Correct monitor.inbox in al-loop.toml")
        except (AlLoopError, OSError, ValueError) as error:
            inbox.missing.append(f"{place}: {error}")
    inbox.missing += [f"{where}: {reason}" for where, reason in skipped.closed]
    inbox.passed_over = skipped.line()
    done = 0
    for report in import_files(workspace, ready, skip=("taken", "refused")):
        inbox.added += report.added
        inbox.duplicates += report.duplicates
        inbox.refused += report.refused
        inbox.notes = dict(Counter(inbox.notes) + report.notes)
        inbox.missing += [f"{where}: {reason}" for where, reason in report.unreached]
        done += report.files
        if progress:
            progress(done, len(ready))
    return inbox


def _ready(workspace: Workspace, place: str, inbox: InboxReport, skipped: SkippedFiles) -> Iterator[FileStat]:
    """Yield the complete new files of a place; record those that are incomplete."""
    min_age_s = workspace.config.monitor.min_age_s
    for chunk in chunks(files_at(place, skipped)):
        for file, state in zip(chunk, states(workspace, chunk), strict=True):
            if state in ("taken", "refused"):
                continue
            if _complete(file, min_age_s, seen_before=state == "waiting"):
                yield file
            else:
                inbox.waiting.append(file.name)
                note(workspace, file, "waiting")


def _complete(file: FileStat, min_age_s: float, *, seen_before: bool) -> bool:
    if file.changed is None:
        return True
    age = time.time() - file.changed
    # A time in the future: the clock jumped back, or the camera's is ahead.
    return age >= min_age_s if age >= 0 else seen_before
