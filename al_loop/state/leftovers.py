"""Find files and folders of killed runs that no command will read again."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from al_loop.core.config import FILE_NAME
from al_loop.state.database.cycle_table import all_cycles
from al_loop.state.database.image_table import files_of_ids_between
from al_loop.state.database.model_table import all_models, count_of_origin
from al_loop.state.database.stage_table import read_stage
from al_loop.state.workspace import Workspace
from render.core.tempdirs import abandoned

#: Maximum number of files without a row after a killed `pool add`, which writes files in batches before rows.
BATCH = 256
#: Minimum age of leftovers among files that are written without the lock of the workspace.
_MIN_AGE_S = 3600.0
WITHOUT_ROW = "an image without a row in the database"
#: Folders of the workspace that are written under its lock only.
_LOCKED = ("images", "cache", "cycles", "models", "scores", "synthetic", "training-images", "export")
_PICTURE = re.compile(r"[0-9a-f]{64}\.[a-z]+")
_SERVERS = re.compile(r"(backup|restore)-[a-z0-9_]{8}")  # names by `tempfile`


@dataclass(frozen=True)
class Leftover:
    """A file or folder, and the reason why it can be deleted.

    temporary: whether it is a folder of `render.core.tempdirs` outside the workspace.
    """

    path: Path
    reason: str = "left by a run that was killed"
    temporary: bool = False


def leftovers(workspace: Workspace) -> Iterator[Leftover]:
    """Find files and folders that no command needs. Hold the lock of the workspace to delete them."""
    yield from _leftovers_of_models(workspace)
    yield from _leftovers_of_cycles(workspace)
    unnamed = list(islice(images_without_row(workspace), BATCH + 1))
    if len(unnamed) <= BATCH:
        yield from (Leftover(path, WITHOUT_ROW) for path in unnamed)
    yield from _partial_files(workspace)
    yield from _leftovers_of_server(workspace.server_home)
    yield from (Leftover(folder, temporary=True) for folder in abandoned())


def images_without_row(workspace: Workspace) -> Iterator[Path]:
    """Find files in images/ without a row. Read one folder at a time to save memory."""
    for folder in _folders(workspace.images):
        files = files_of_ids_between(workspace.store, folder.name, f"{folder.name}g")
        for name in sorted(os.listdir(folder)):
            if _PICTURE.fullmatch(name) and f"images/{folder.name}/{name}" not in files:
                yield folder / name


def foreign_folders(workspace: Workspace) -> Iterator[Path]:
    """Find complete models and cycles without a row, which belong to a newer database."""
    models, cycles = _models(workspace), _cycles(workspace)
    expected = models.keys() | _jobs(cycles)
    for folder in _folders(workspace.root / "models"):
        if folder.suffix != ".partial" and folder.name not in expected:
            yield folder
    for folder in _folders(workspace.root / "cycles"):
        if folder.name not in cycles and not _only_begun(folder):
            yield folder


def _leftovers_of_models(workspace: Workspace) -> Iterator[Leftover]:
    models, jobs = _models(workspace), _jobs(_cycles(workspace))
    for folder in (workspace.root / kind / name for name in models for kind in ("models", "scores")):
        # gc writes the row before it deletes the files.
        if models[folder.name] and folder.is_dir():
            yield Leftover(folder, "of a model that gc has deleted")
    for partial in _folders(workspace.root / "models"):
        job = partial.stem
        if partial.suffix == ".partial" and job not in jobs and not _continues(workspace, job):
            yield Leftover(partial)
    for folder in _folders(workspace.root / "scores"):
        if folder.name not in models and not workspace.model_dir(folder.name).is_dir():
            yield Leftover(folder, "scores of a model that does not exist")


def _leftovers_of_cycles(workspace: Workspace) -> Iterator[Leftover]:
    cycles = _cycles(workspace)
    for folder in _folders(workspace.root / "cycles"):
        if not cycles.get(folder.name, False):
            yield from (Leftover(path) for path in _folders(folder) if path.suffix == ".partial")
        # Other folders without a row belong to another database.
        if folder.name.isdigit() and folder.name not in cycles and _only_begun(folder):
            yield Leftover(folder, "of a cycle that did not begin")


def _continues(workspace: Workspace, job: str) -> bool:
    """Whether the next `pretrain` or `models import` would continue a job."""
    origin, _, number = job.rpartition("-")
    row = read_stage(workspace.store, job, origin)
    expected = str(1 + count_of_origin(workspace.store, origin))
    return row is not None and row.state != "done" and number == expected


def _partial_files(workspace: Workspace) -> Iterator[Leftover]:
    """Find files `*.partial`, except those in folders `*.partial`, which belong to jobs."""
    for name in _LOCKED:
        for place, folders, files in os.walk(workspace.root / name):
            folders[:] = [folder for folder in folders if not folder.endswith(".partial")]
            for path in (Path(place, file) for file in files if file.endswith(".partial")):
                # Reports and browsers fetch objects into the cache without the lock.
                if name != "cache" or _is_old(path):
                    yield Leftover(path)
    for name in (f"{FILE_NAME}.partial", "report.html.partial"):
        if _is_old(workspace.root / name):
            yield Leftover(workspace.root / name)


def _leftovers_of_server(home: Path) -> Iterator[Leftover]:
    """Find leftovers of starts, backups and restores of the embedded server, which has its own lock."""
    paths = [home / f"{name}.partial" for name in ("data", "server.json", "credentials.json", "credentials")]
    paths += [folder for folder in _folders(home) if _SERVERS.fullmatch(folder.name)]
    for place, _, files in os.walk(home / "media"):
        paths += [Path(place, name) for name in files if name.endswith(".partial")]
    paths += (home / "backups").glob("*.partial")
    yield from (Leftover(path) for path in paths if _is_old(path))


def _is_old(path: Path) -> bool:
    """Whether a file exists and is old. A folder is old if everything in it is."""
    newest = _changed(path)
    for place, folders, files in os.walk(path):
        newest = max([newest, *(_changed(Path(place, name)) for name in (*folders, *files))])
    return 0.0 < newest < time.time() - _MIN_AGE_S


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def _models(workspace: Workspace) -> dict[str, bool]:
    """Return whether gc has deleted the files of each model, by id."""
    return {row.id: row.removed_at is not None for row in all_models(workspace.store)}


def _cycles(workspace: Workspace) -> dict[str, bool]:
    """Return whether each cycle is open, by number."""
    return {str(row.number): row.outcome is None for row in all_cycles(workspace.store)}


def _jobs(cycles: dict[str, bool]) -> set[str]:
    return {f"cycle-{number}" for number, is_open in cycles.items() if is_open}


def _only_begun(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} <= {"pool.json", "pool.json.partial"}


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(Path(entry) for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
