"""Run all checks on a workspace. Nothing is changed."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import msgspec

from al_loop.core.config import FILE_NAME, Config
from al_loop.core.console import Reporter
from al_loop.core.errors import AlLoopError, ConfigError, WorkspaceError
from al_loop.core.lock import command_at_work
from al_loop.doctor import cycles, images, labels, leaks, models, records, surroundings
from al_loop.doctor.finding import Check, CheckContext, Finding
from al_loop.images.integrity import CheckDepth
from al_loop.state.database.facts import read_fact
from al_loop.state.database.sqlite_file import AS_OWNER, restoring, unreadable
from al_loop.state.database.store import Store
from al_loop.state.workspace import DATABASE, Workspace, find_workspace, settings_of

#: Findings kept per kind; further ones are counted. A million broken images take no more memory.
KEPT = 20
#: Checks that need no database.
OF_FILES: dict[str, Check] = {
    "rights": surroundings.rights,
    "disk": surroundings.disk,
    "packages": surroundings.packages,
    "server": surroundings.server,
}
CHECKS: dict[str, Check] = {
    "database": records.integrity,
    "references": records.references,
    "schema": records.schema,
    "classes": records.classes,
    "places": images.places,
    "photographs": images.stored,
    "unnamed": images.without_row,
    "labels": labels.boxes,
    "sets": labels.sets,
    "leaks": leaks.pool,
    "pixels": leaks.pixels,
    "trained": leaks.trained,
    "models": models.files,
    "in use": models.in_use,
    "scores": models.scores,
    "rendered": models.rendered,
    "finished cycles": cycles.finished,
    "open cycle": cycles.under_way,
    "unknown": cycles.unknown,
    "leftovers": surroundings.left,
    "labelling": surroundings.labelling,
    **OF_FILES,
}
# Errors of a check on a damaged workspace.
_ERRORS = (
    AlLoopError, OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, sqlite3.Error,
    msgspec.MsgspecError,
)  # fmt: skip


@dataclass(frozen=True)
class Diagnosis:
    """All problems of a workspace.

    findings: the first of each kind.  more: number of further ones, by kind.
    notes: what was not examined, and why.
    """

    root: Path
    findings: tuple[Finding, ...]
    more: dict[str, int]
    notes: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of problems."""
        return len(self.findings) + sum(self.more.values())


def examine(
    start: Path | None, reporter: Reporter, depth: CheckDepth = CheckDepth.BYTES, *, ask: bool = False
) -> Diagnosis:
    """Run every check on a workspace; raise WorkspaceError only if there is none.

    ask: also ask a labelling server of the user's own, with its token.
    """
    root = _find(start)
    notes: list[str] = []
    store, blind = _database(root)
    config, findings = _settings(root, store)
    command = command_at_work(root / ".lock")
    at_work = None if command is None else f"`{command}`"
    if at_work:
        notes.append(f"{at_work} works here: its unfinished work is left out")
    if store is None:
        notes.append("without the database, only files were examined")
    if config is not None and config.label_studio.url is not None and not ask:
        notes.append(f"the labelling server {config.label_studio.url} was not asked: --server asks it")
    counts, first = Counter[str](), []
    with closing(store or Store(":memory:")) as opened:
        workspace = Workspace(root, config or _default(store), opened)
        context = CheckContext(workspace, reporter, depth, at_work, ask)
        checks = CHECKS if store is not None else OF_FILES
        of_checks = chain.from_iterable(_run(name, check, context) for name, check in checks.items())
        for finding in chain(findings, blind, of_checks):
            counts[finding.check] += 1
            if counts[finding.check] <= KEPT:
                first.append(finding)
    more = {check: count - KEPT for check, count in counts.items() if count > KEPT}
    return Diagnosis(root, tuple(first), more, tuple(notes))


def _run(name: str, check: Check, context: CheckContext) -> Iterator[Finding]:
    """Yield the findings of a check, and one more for an error that stopped it."""
    try:
        yield from check(context)
    except _ERRORS as error:
        if not isinstance(error, AlLoopError):
            text = f"the check failed ({type(error).__name__}: {error})"
        elif context.workspace.store.connection.damaged:
            text = "the check failed: the database is damaged"
        else:
            text = str(error)
        yield Finding(f"{name}.stopped", name, text, "repair the other findings, then: al-loop doctor")


def _find(start: Path | None) -> Path:
    """Return the workspace's folder, also one that has a database and no settings."""
    try:
        return find_workspace(start)
    except WorkspaceError:
        origin = (start or Path(os.environ.get("AL_LOOP_WORKSPACE") or ".")).expanduser().resolve()
        for folder in (origin, *origin.parents):
            if (folder / DATABASE).is_file():
                return folder
        raise


def _settings(root: Path, store: Store | None) -> tuple[Config | None, list[Finding]]:
    if not (root / FILE_NAME).exists():
        return None, [Finding("settings.missing", FILE_NAME, "is gone", "restore al-loop.toml from a backup")]
    try:
        return settings_of(root, store), []
    except ConfigError as error:
        return None, [Finding("settings.unusable", FILE_NAME, str(error), "correct al-loop.toml accordingly")]


def _default(store: Store | None) -> Config:
    """Return default settings with the classes of the labels, for an unusable al-loop.toml."""
    names = read_fact(store, "classes") if store is not None else None
    return Config(classes=tuple((names or "object").split("\n")))


def _database(root: Path) -> tuple[Store | None, list[Finding]]:
    path = root / DATABASE
    mend = AS_OWNER if unreadable(path) else restoring(path)
    if not path.is_file():
        return None, [Finding("database.missing", DATABASE, "is gone", mend)]
    try:
        store = Store(path, only_read=True)
        read_fact(store, "classes")
    except _ERRORS as error:
        if "older al-loop" in str(error):
            return None, [Finding("database.older", DATABASE, str(error), "al-loop status")]
        return None, [Finding("database.unusable", DATABASE, str(error), mend)]
    return store, []
