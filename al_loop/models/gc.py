"""Delete files that no command will read again."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from al_loop.core.files import folder_bytes, printable
from al_loop.state import model_registry
from al_loop.state.database.model_table import mark_removed, models_in_use
from al_loop.state.leftovers import BATCH, NOT_TAKEN_IN, Leftover, leftovers, unnamed_pictures
from al_loop.state.workspace import Workspace, now
from render.core.tempdirs import sweep

_NAMED = 5  # files of a kind


def gc(workspace: Workspace, keep: Sequence[str], *, dry_run: bool, pictures: bool = False) -> list[str]:
    """Delete the files of models that were never in use, their scores, and files of killed runs.

    Models stay that are or were current, have descendants, belong to an open cycle, or are named. The
    database keeps the metrics and the lineage of a deleted model.

    pictures: also all files in images/ without a row.
    Returns the deletions in lines. A later run finishes a killed one. Raises ModelError for an unknown name.
    """
    needed = {model_registry.get_model(workspace, name).id for name in keep} | models_in_use(workspace.store)
    # Leftovers come before the first write to the database, for which a full disk may have no room.
    notes, items = [], list(leftovers(workspace))
    if pictures:
        items = list({*items, *(Leftover(path, NOT_TAKEN_IN) for path in unnamed_pictures(workspace))})
    elif (unnamed := sum(1 for _ in unnamed_pictures(workspace))) > BATCH:
        notes.append(too_many(workspace, unnamed))
    deleted, freed = _delete_all(workspace, items, dry_run=dry_run)
    lines = []
    for model in model_registry.all_models(workspace):
        if model.id in needed or model.removed_at is not None:
            continue
        folders = [path for path in (model.folder, workspace.root / "scores" / model.id) if path.is_dir()]
        size = sum(map(folder_bytes, folders))
        freed += size
        lines.append(f"{model.id}, never in use: {size / 1e6:.1f} MB")
        if not dry_run:
            # The row comes first: a model with half of its files must not look whole.
            mark_removed(workspace.store, model.id, now())
            for folder in folders:
                shutil.rmtree(folder)
    total = f"{freed / 1e6:.1f} MB"
    end = f"would free {total}: run again without --dry-run" if dry_run else f"freed {total}"
    return [*lines, *notes, *deleted, end]


def _delete_all(workspace: Workspace, items: Sequence[Leftover], *, dry_run: bool) -> tuple[list[str], int]:
    """Delete leftovers; return lines that name a few of each kind, and the number of bytes."""
    lines, freed = [], 0
    for why, group in groupby(sorted(items, key=lambda item: (item.why, item.path)), lambda item: item.why):
        kind = [(item, _bytes(item.path)) for item in group]
        freed += sum(size for _, size in kind)
        for item, size in kind[:_NAMED]:
            inside = item.path.is_relative_to(workspace.root)
            name = str(item.path.relative_to(workspace.root) if inside else item.path)
            lines.append(f"{printable(name)}, {why}: {size / 1e6:.1f} MB")
        if rest := kind[_NAMED:]:
            more = sum(size for _, size in rest) / 1e6
            lines.append(f"... and {len(rest)} more, {why}: {more:.1f} MB")
        for item, _ in () if dry_run else kind:
            _delete(item)
    return lines, freed


def _delete(item: Leftover) -> None:
    if item.temporary:
        sweep(item.path)
    elif item.path.is_dir():
        shutil.rmtree(item.path)
    else:
        item.path.unlink(missing_ok=True)


def _bytes(path: Path) -> int:
    try:
        return folder_bytes(path) if path.is_dir() else path.lstat().st_size
    except OSError:
        return 0


def too_many(workspace: Workspace, count: int) -> str:
    """Explain files without a row when there are more than a killed run leaves."""
    again = f"al-loop pool add {shlex.quote(str(workspace.images))}"
    return (
        f"{count} files in images/ have no row, more than a killed pool add leaves: they stay. If the "
        f"database is older than they are, restore the newer one, or take them in again: {again}. "
        "Delete them: al-loop gc --images"
    )
