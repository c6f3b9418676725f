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
from al_loop.state.leftovers import BATCH, WITHOUT_ROW, Leftover, images_without_row, leftovers
from al_loop.state.workspace import Workspace, now
from render.core.tempdirs import sweep

_MAX_LISTED = 5  # files per reason


def gc(workspace: Workspace, keep: Sequence[str], *, dry_run: bool, pictures: bool = False) -> list[str]:
    """Delete the files and scores of models that were never in use, and the files of killed runs.

    A model is kept if it is or was current, has descendants, belongs to an open cycle, or is in `keep`.
    The database keeps the metrics and the lineage of a deleted model.

    keep: ids of models to keep.
    dry_run: only report what would be deleted.
    pictures: also delete every file in images/ that has no row in the database.
    Returns one line per deletion. The next run completes a killed one.
    Raises ModelError for an unknown model.
    """
    needed = {model_registry.get_model(workspace, name).id for name in keep} | models_in_use(workspace.store)
    # Delete leftovers before the first write to the database, for which a full disk may have no room.
    notes, items = [], list(leftovers(workspace))
    if pictures:
        items = list({*items, *(Leftover(path, WITHOUT_ROW) for path in images_without_row(workspace))})
    elif (unnamed := sum(1 for _ in images_without_row(workspace))) > BATCH:
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
            # Mark the row first: a model without some of its files must not look complete.
            mark_removed(workspace.store, model.id, now())
            for folder in folders:
                shutil.rmtree(folder)
    total = f"{freed / 1e6:.1f} MB"
    end = f"would free {total}: run again without --dry-run" if dry_run else f"freed {total}"
    return [*lines, *notes, *deleted, end]


def _delete_all(workspace: Workspace, items: Sequence[Leftover], *, dry_run: bool) -> tuple[list[str], int]:
    """Delete leftovers. Return lines that list a few files per reason, and the number of freed bytes."""
    lines, freed = [], 0
    for reason, group in groupby(sorted(items, key=_order), lambda item: item.reason):
        sized = [(item, _bytes(item.path)) for item in group]
        freed += sum(size for _, size in sized)
        for item, size in sized[:_MAX_LISTED]:
            inside = item.path.is_relative_to(workspace.root)
            name = str(item.path.relative_to(workspace.root) if inside else item.path)
            lines.append(f"{printable(name)}, {reason}: {size / 1e6:.1f} MB")
        if rest := sized[_MAX_LISTED:]:
            more = sum(size for _, size in rest) / 1e6
            lines.append(f"... and {len(rest)} more, {reason}: {more:.1f} MB")
        for item, _ in () if dry_run else sized:
            _delete(item)
    return lines, freed


def _order(item: Leftover) -> tuple[str, Path]:
    return item.reason, item.path


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
    """Explain files in images/ without a row, if there are more than a killed run leaves."""
    again = f"al-loop pool add {shlex.quote(str(workspace.images))}"
    return (
        f"{count} files in images/ have no row in the database, more than a killed pool add leaves. They are "
        f"kept. If the database is older than the files, restore the newer database, or add the files again: "
        f"{again}. To delete the files: al-loop gc --images"
    )
