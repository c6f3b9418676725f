"""Disk: delete what no one will ask for again."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from al_loop.core.files import folder_bytes, printable
from al_loop.state import model_registry
from al_loop.state.database.model_table import models_in_use, note_removed
from al_loop.state.leftovers import BATCH, NOT_TAKEN_IN, Leftover, leftovers, unnamed_pictures
from al_loop.state.workspace import Workspace, now
from render.core.tempdirs import sweep

_NAMED = 5  # of many of a kind


def gc(workspace: Workspace, keep: Sequence[str], *, dry_run: bool, pictures: bool = False) -> list[str]:
    """Delete the files of models that were never in use, their scores, and what killed runs left.

    Kept: models that are or were in use, that another was made from, that an open cycle starts from or has made, and
    those named. What is known of a deleted model, its metrics and its place in the lineage, stays in the database.
    pictures: also all files in images/ that no row names, however many there are.
    Raises ModelError for a name that there is not. Returns what was deleted, in lines. Killed, it is finished by the next.
    """
    needed = {model_registry.get_model(workspace, name).id for name in keep} | models_in_use(workspace.store)
    # Before the first write to the database, for which a full disk may have no room.
    notes, found = [], list(leftovers(workspace))
    if pictures:
        found = list({*found, *(Leftover(path, NOT_TAKEN_IN) for path in unnamed_pictures(workspace))})
    elif (unnamed := sum(1 for _ in unnamed_pictures(workspace))) > BATCH:
        notes.append(too_many(workspace, unnamed))
    said, freed = _deleted(workspace, found, dry_run=dry_run)
    lines = []
    for model in model_registry.all_models(workspace):
        if model.id in needed or model.removed_at is not None:
            continue
        folders = [path for path in (model.folder, workspace.root / "scores" / model.id) if path.is_dir()]
        size = sum(map(folder_bytes, folders))
        freed += size
        lines.append(f"{model.id}, never in use: {size / 1e6:.1f} MB")
        if not dry_run:
            # The row comes first: a model whose files are half gone must not be taken for a whole one.
            note_removed(workspace.store, model.id, now())
            for folder in folders:
                shutil.rmtree(folder)
    total = f"{freed / 1e6:.1f} MB"
    end = f"would free {total}: run again without --dry-run" if dry_run else f"freed {total}"
    return [*lines, *notes, *said, end]


def _deleted(workspace: Workspace, found: Sequence[Leftover], *, dry_run: bool) -> tuple[list[str], int]:
    """Delete leftovers; return what to say of them, a few of each kind by name, and their bytes."""
    lines, freed = [], 0
    for why, group in groupby(sorted(found, key=lambda item: (item.why, item.path)), lambda item: item.why):
        items = list(group)
        sizes = [folder_bytes(item.path) if item.path.is_dir() else _bytes(item.path) for item in items]
        freed += sum(sizes)
        for item, size in zip(items[:_NAMED], sizes, strict=False):
            lines.append(f"{printable(_name(workspace, item.path))}, {why}: {size / 1e6:.1f} MB")
        if len(items) > _NAMED:
            more = sum(sizes[_NAMED:]) / 1e6
            lines.append(f"... and {len(items) - _NAMED} more, {why}: {more:.1f} MB")
        for item in () if dry_run else items:
            _delete(item)
    return lines, freed


def _delete(item: Leftover) -> None:
    if item.temporary:
        sweep(item.path)
    elif item.path.is_dir():
        shutil.rmtree(item.path)
    else:
        item.path.unlink(missing_ok=True)


def too_many(workspace: Workspace, count: int) -> str:
    """Say of files without a row, more than a killed run leaves, what they may be."""
    again = f"al-loop pool add {shlex.quote(str(workspace.images))}"
    return (
        f"{count} files in images/ have no row, more than a killed pool add leaves: they stay. If the database is older than "
        f"they are, restore the newer one, or take them in again: {again}. Delete them: al-loop gc --images"
    )


def _name(workspace: Workspace, path: Path) -> str:
    return str(path.relative_to(workspace.root)) if path.is_relative_to(workspace.root) else str(path)


def _bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
