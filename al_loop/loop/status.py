"""Describe the state of the loop and the next command as lines of text."""

from __future__ import annotations

from al_loop.labelling.server.server_state import status as server_status
from al_loop.state.database.cycle_table import ABANDONED, newest_cycle
from al_loop.state.database.dataset_table import rendered_count
from al_loop.state.database.image_table import pool_size
from al_loop.state.database.label_table import set_size, status_counts
from al_loop.state.database.stage_table import stages_of
from al_loop.state.model_registry import can_pretrain, current_model, has_model, saved_metrics
from al_loop.state.workspace import Workspace
from al_loop.structures.metrics import VALIDATION


def describe(workspace: Workspace) -> list[str]:
    """Return the state of a workspace as lines. Only the database is read."""
    store = workspace.store
    counts = pool_counts(workspace)
    validation, rendered = set_size(store, VALIDATION), rendered_count(store)
    pool = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "empty"
    server, url = server_status(workspace.server_home), workspace.config.label_studio.url
    embedded = str(server.url) if server.running else "embedded server, not running"
    cycle, is_open = _cycle(workspace)
    if not counts:
        command = "al-loop pool add PHOTOS..."
    elif not is_open and can_pretrain(workspace):
        command = "al-loop pretrain"
    elif url is None and not server.running:
        command = "al-loop label-studio start"
    else:
        command = "al-loop cycle" if is_open or "unlabelled" in counts else "al-loop pool add PHOTOS..."
    return [
        f"workspace   {workspace.root}",
        f"classes     {', '.join(workspace.config.classes)}",
        f"pool        {pool}",
        f"validation  {f'{validation} images' if validation else 'none yet: a cycle has it labelled'}",
        f"rendered    {rendered} images",
        f"model       {_model(workspace)}",
        f"labelling   {embedded if url is None else url}",
        f"cycle       {cycle}",
        f"next        {command}",
    ]


def pool_counts(workspace: Workspace) -> dict[str, int]:
    """Return the number of pool images by status, including 'unlabelled'. Zeros are omitted."""
    # There are few labels compared with the pool: count them, and subtract them from its size.
    counts = status_counts(workspace.store)
    counts["unlabelled"] = pool_size(workspace.store) - sum(counts.values())
    return {status: count for status, count in counts.items() if count}


def _model(workspace: Workspace) -> str:
    if not has_model(workspace):
        return "none yet"
    model = current_model(workspace)
    metrics = saved_metrics(workspace, model.id)
    return f"{model.id}, {metrics.headline}" if metrics else model.id


def _cycle(workspace: Workspace) -> tuple[str, bool]:
    """Describe the newest cycle, and return whether it is open."""
    row = newest_cycle(workspace.store)
    if row is None:
        return "none yet", False
    if row.outcome == ABANDONED:
        return f"{row.number} abandoned: {row.reason}", False
    if row.outcome is not None:
        return f"{row.number} finished: {row.outcome}, {row.reason}", False
    import psutil  # here, as a finished cycle does not need it

    stages = stages_of(workspace.store, f"cycle-{row.number}")
    crashed = {s.name for s in stages if s.state == "running" and s.pid and not psutil.pid_exists(s.pid)}
    states = [f"{s.name} {'crashed' if s.name in crashed else s.state}" for s in stages]
    sample = f", {row.validation_images} for the validation set" if row.validation_images else ""
    return f"{row.number} under way (k = {row.k}{sample}): {', '.join(states) or 'just begun'}", True
