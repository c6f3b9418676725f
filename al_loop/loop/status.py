"""Where the loop stands and what to do next, in lines."""

from __future__ import annotations

import os

from al_loop.labelling.server.server_state import status as server_status
from al_loop.state.database.cycle_table import newest_cycle, open_cycles
from al_loop.state.database.dataset_table import rendered_count
from al_loop.state.database.image_table import pool_size
from al_loop.state.database.label_table import set_size, status_counts
from al_loop.state.database.stage_table import stages_of
from al_loop.state.model_registry import current_model, has_model, saved_metrics
from al_loop.state.workspace import Workspace
from al_loop.structures.metrics import VALIDATION


def describe(workspace: Workspace) -> list[str]:
    """Return the state of a workspace as lines; reads the database only."""
    store = workspace.store
    counts = pool_counts(workspace)
    validation = set_size(store, VALIDATION)
    pool = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "empty"
    rendered = rendered_count(store)
    return [
        f"workspace   {workspace.root}",
        f"classes     {', '.join(workspace.config.classes)}",
        f"pool        {pool}",
        f"validation  {validation} images",
        f"rendered    {rendered} images",
        f"model       {_model(workspace)}",
        f"labelling   {_server(workspace)}",
        *_cycle(workspace),
        f"next        {_next(workspace, sum(counts.values()), validation, rendered, counts.get('unlabelled', 0))}",
    ]


def pool_counts(workspace: Workspace) -> dict[str, int]:
    """Return how many photographs of the pool are 'labelled', 'empty', 'skipped' and 'unlabelled'; none of a kind: no entry."""
    # Labels are few beside the pool: they are counted, the rest is a difference.
    counts = status_counts(workspace.store)
    counts["unlabelled"] = pool_size(workspace.store) - sum(counts.values())
    return {status: count for status, count in counts.items() if count}


def _model(workspace: Workspace) -> str:
    if not has_model(workspace):
        return "none yet"
    model = current_model(workspace)
    metrics = saved_metrics(workspace, model.id)
    return f"{model.id}, AP {metrics.ap:.3f}" if metrics else model.id


def _server(workspace: Workspace) -> str:
    url = workspace.config.label_studio.url
    if url is not None:
        return url
    found = server_status(workspace.server_home)
    return str(found.url) if found.running else "embedded server, not running"


def _cycle(workspace: Workspace) -> list[str]:
    row = newest_cycle(workspace.store)
    if row is None:
        return ["cycle       none yet"]
    if row.outcome == "abandoned":
        return [f"cycle       {row.number} abandoned: {row.reason}"]
    if row.outcome is not None:
        return [f"cycle       {row.number} finished: {row.outcome}, {row.reason}"]
    stages = stages_of(workspace.store, f"cycle-{row.number}")
    said = ", ".join(f"{s.name} {_state(s.state, s.pid)}" for s in stages)
    return [f"cycle       {row.number} under way (k = {row.k}): {said or 'just begun'}"]


def _state(state: str, pid: int | None) -> str:
    """Return a stage's state; one whose process has ended without a word has crashed."""
    if state == "running" and pid is not None:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return "crashed"
        except PermissionError:
            return state
    return state


def _next(workspace: Workspace, pool: int, validation: int, rendered: int, unlabelled: int) -> str:
    """Return the next command to type."""
    if not pool:
        return "al-loop pool add PHOTOS..."
    if not validation:
        return "al-loop pool add-val COCO.json"
    if not has_model(workspace):
        return "al-loop pretrain" if rendered else "al-loop render RECIPE --count 400"
    server = server_status(workspace.server_home)
    if workspace.config.label_studio.url is None and not server.running:
        return "al-loop label-studio start"
    if not unlabelled and not open_cycles(workspace.store):
        return "al-loop pool add PHOTOS..."
    return "al-loop cycle"
