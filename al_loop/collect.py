"""Disk: delete what no one will ask for again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from al_loop import models
from al_loop.files import folder_bytes
from al_loop.workspace import Workspace, now


def collect(workspace: Workspace, keep: Sequence[str], *, dry_run: bool) -> list[str]:
    """Delete the files of models that were never in use, their scores, and folders that killed runs left.

    Kept: models that are or were in use, that another was made from, that an open cycle starts from or has made, and
    those named. What is known of a deleted model, its metrics and its place in the lineage, stays in the database.
    Raises ModelError for a name that there is not. Returns what was deleted, in lines.
    """
    needed = {models.get_model(workspace, name).id for name in keep} | _needed(workspace)
    lines, freed = [], 0
    for model in models.all_models(workspace):
        if model.id in needed or model.removed_at is not None:
            continue
        folders = [path for path in (model.folder, workspace.root / "scores" / model.id) if path.is_dir()]
        size = sum(map(folder_bytes, folders))
        freed += size
        lines.append(f"{model.id}, never in use: {size / 1e6:.1f} MB")
        if not dry_run:
            # The row comes first: a model whose files are half gone must not be taken for a whole one.
            workspace.store.execute("UPDATE models SET removed_at = ? WHERE id = ?", now(), model.id)
            for folder in folders:
                shutil.rmtree(folder)
    for folder in _left_behind(workspace):
        size = folder_bytes(folder)
        freed += size
        lines.append(
            f"{folder.relative_to(workspace.root)}, left by a run that was killed: {size / 1e6:.1f} MB"
        )
        if not dry_run:
            shutil.rmtree(folder)
    total = f"{freed / 1e6:.1f} MB"
    return [*lines, f"would free {total}: run again without --dry-run" if dry_run else f"freed {total}"]


def _needed(workspace: Workspace) -> set[str]:
    rows = workspace.store.rows(
        "SELECT model_id AS id FROM promotions UNION SELECT parent FROM models WHERE parent IS NOT NULL "
        "UNION SELECT model_id FROM cycles WHERE outcome IS NULL "
        "UNION SELECT m.id FROM models m JOIN cycles c ON c.number = m.cycle WHERE c.outcome IS NULL"
    )
    return {str(row["id"]) for row in rows}


def _left_behind(workspace: Workspace) -> Iterator[Path]:
    """Partial folders whose job is done or given up: not those that the next run goes on with."""
    open_jobs = {
        f"cycle-{row['number']}"
        for row in workspace.store.rows("SELECT number FROM cycles WHERE outcome IS NULL")
    }
    for partial in sorted((workspace.root / "models").glob("*.partial")):
        row = workspace.store.row(
            "SELECT state FROM stages WHERE job = ? AND name IN ('train', 'pretrain', 'import')", partial.stem
        )
        if partial.stem not in open_jobs and (row is None or row["state"] == "done"):
            yield partial
