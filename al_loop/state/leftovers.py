"""What killed runs have left: files and folders that nothing will ask for again."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from al_loop.core.config import FILE_NAME
from al_loop.state.database.cycle_table import cycle_numbers, open_cycles
from al_loop.state.database.image_table import files_of_ids_between
from al_loop.state.database.model_table import count_of_origin, model_ids, removed_model_ids
from al_loop.state.database.stage_table import read_stage
from al_loop.state.workspace import Workspace
from render.core.tempdirs import KINDS, abandoned

#: Files without a row that a killed `pool add` may leave: it writes so many before their rows.
BATCH = 256
#: What is written without holding the workspace is left alone for so long after its last change.
_YOUNG_S = 3600.0
NOT_TAKEN_IN = "a photograph that was not taken in"
#: Folders of the workspace that only commands write which hold it.
_ROOMS = ("images", "cache", "cycles", "models", "scores", "synthetic", "training-images", "export")
_KILLED = "left by a run that was killed"
_PICTURE = re.compile(r"[0-9a-f]{64}\.[a-z]+")
_SERVERS = re.compile(r"(backup|restore)-[a-z0-9_]{8}")  # as `tempfile` makes them


@dataclass(frozen=True)
class Leftover:
    """A file or folder, and why nothing asks for it.

    temporary: a folder in the system's temporary folder, see `render.core.tempdirs`; else it lies in the workspace.
    """

    path: Path
    why: str = _KILLED
    temporary: bool = False


def leftovers(workspace: Workspace) -> Iterator[Leftover]:
    """Find what nothing asks for; whoever deletes it must hold the workspace."""
    yield from _of_deleted_models(workspace)
    yield from _of_jobs_that_are_over(workspace)
    yield from _scores_of_no_model(workspace)
    yield from _cycles_without_a_row(workspace)
    unnamed = list(islice(unnamed_pictures(workspace), BATCH + 1))
    if len(unnamed) <= BATCH:
        yield from (Leftover(path, NOT_TAKEN_IN) for path in unnamed)
    yield from _half_written(workspace)
    yield from _of_the_server(workspace.server_home)
    yield from _temporary()


def unnamed_pictures(workspace: Workspace) -> Iterator[Path]:
    """Find files in images/ that no row names, a folder at a time: a million take little memory."""
    for folder in _folders(workspace.images):
        known = files_of_ids_between(workspace.store, folder.name, f"{folder.name}g")
        for name in sorted(os.listdir(folder)):
            if _PICTURE.fullmatch(name) and f"images/{folder.name}/{name}" not in known:
                yield folder / name


def foreign_folders(workspace: Workspace) -> Iterator[Path]:
    """Find whole models and cycles that no row names: of a database that is newer than the one that is there."""
    known = set(model_ids(workspace.store))
    jobs = _open_jobs(workspace)
    for folder in _folders(workspace.root / "models"):
        if folder.suffix != ".partial" and folder.name not in known and folder.name not in jobs:
            yield folder
    numbers = _cycle_numbers(workspace)
    for folder in _folders(workspace.root / "cycles"):
        if folder.name not in numbers and not _only_begun(folder):
            yield folder


def _of_deleted_models(workspace: Workspace) -> Iterator[Leftover]:
    """The row comes first, then the files: a gc that was killed in between is finished."""
    for model in removed_model_ids(workspace.store):
        for folder in (workspace.model_dir(model), workspace.root / "scores" / model):
            if folder.is_dir():
                yield Leftover(folder, "of a model that gc has deleted")


def _of_jobs_that_are_over(workspace: Workspace) -> Iterator[Leftover]:
    """Partial folders that no run goes on with, and the logs of trainings in them."""
    jobs = _open_jobs(workspace)
    for partial in _folders(workspace.root / "models"):
        if (
            partial.suffix == ".partial"
            and partial.stem not in jobs
            and not _goes_on(workspace, partial.stem)
        ):
            yield Leftover(partial)
    for cycle in _folders(workspace.root / "cycles"):
        if f"cycle-{cycle.name}" not in jobs:
            yield from (Leftover(path) for path in _folders(cycle) if path.suffix == ".partial")


def _goes_on(workspace: Workspace, job: str) -> bool:
    """Whether the next `pretrain` or `models import` would go on with a job: the one behind the last that was made."""
    origin, _, number = job.rpartition("-")
    made = count_of_origin(workspace.store, origin)
    row = read_stage(workspace.store, job, origin)
    return row is not None and row.state != "done" and number == str(made + 1)


def _scores_of_no_model(workspace: Workspace) -> Iterator[Leftover]:
    known = set(model_ids(workspace.store))
    for folder in _folders(workspace.root / "scores"):
        if folder.name not in known and not workspace.model_dir(folder.name).is_dir():
            yield Leftover(folder, "scores of a model that there is not")


def _cycles_without_a_row(workspace: Workspace) -> Iterator[Leftover]:
    """Cycles that were killed before they had begun; what else lies there is of another database: it stays."""
    numbers = _cycle_numbers(workspace)
    for folder in _folders(workspace.root / "cycles"):
        if folder.name.isdigit() and folder.name not in numbers and _only_begun(folder):
            yield Leftover(folder, "of a cycle that did not begin")


def _half_written(workspace: Workspace) -> Iterator[Leftover]:
    """Files `*.partial`; those of jobs that go on are in folders `*.partial`, which are looked at elsewhere."""
    for room in _ROOMS:
        for place, folders, files in os.walk(workspace.root / room):
            folders[:] = [name for name in folders if not name.endswith(".partial")]
            for name in files:
                path = Path(place, name)
                # Of objects that are fetched, by a report or a browser too, which hold nothing.
                if name.endswith(".partial") and (room != "cache" or _rests(path)):
                    yield Leftover(path)
    for name in (f"{FILE_NAME}.partial", "report.html.partial"):
        if _rests(workspace.root / name):
            yield Leftover(workspace.root / name)


def _of_the_server(home: Path) -> Iterator[Leftover]:
    """What starts, backups and restores of the embedded server have left, which hold a lock of their own."""
    fixed = ("data.partial", "server.json.partial", "credentials.json.partial", "credentials.partial")
    found = [home / name for name in fixed]
    found += [folder for folder in _folders(home) if _SERVERS.fullmatch(folder.name)]
    for place, _, files in os.walk(home / "media"):
        found += [Path(place, name) for name in files if name.endswith(".partial")]
    found += (home / "backups").glob("*.partial")
    yield from (Leftover(path) for path in found if _rests(path))


def _temporary() -> Iterator[Leftover]:
    for folder in abandoned():
        yield Leftover(folder, temporary=True)
    # Of an al-loop that held no lock.
    mark = re.compile(rf"al-loop-({'|'.join(KINDS)})-[a-z0-9_]{{8}}")
    for folder in _folders(Path(tempfile.gettempdir())):
        unheld = mark.fullmatch(folder.name) and not folder.with_name(f"{folder.name}.lock").exists()
        if unheld and folder.stat().st_uid == os.geteuid() and _rests(folder):
            yield Leftover(folder)


def _rests(path: Path) -> bool:
    """Whether a file, or everything in a folder, is there and has not changed for a while."""
    newest = _changed(path)
    for place, folders, files in os.walk(path):
        newest = max([newest, *(_changed(Path(place, name)) for name in (*folders, *files))])
    return 0.0 < newest < time.time() - _YOUNG_S


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def _open_jobs(workspace: Workspace) -> set[str]:
    return {f"cycle-{row.number}" for row in open_cycles(workspace.store)}


def _cycle_numbers(workspace: Workspace) -> set[str]:
    return set(map(str, cycle_numbers(workspace.store)))


def _only_begun(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} <= {"pool.json", "pool.json.partial"}


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(Path(entry) for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
