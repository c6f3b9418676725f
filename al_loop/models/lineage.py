"""The workspace's models in lines: what was made from what, and how good each is."""

from __future__ import annotations

from al_loop.core.files import folder_bytes, read_json
from al_loop.images import repository
from al_loop.models import model_training
from al_loop.models.promotion import COMPARISON
from al_loop.state import model_registry
from al_loop.state.database.model_table import all_promotions
from al_loop.state.model_registry import Model, saved_metrics
from al_loop.state.workspace import Workspace
from al_loop.structures.metrics import Metrics

_DEEPEST = 8  # levels of the tree that are drawn


def tree(workspace: Workspace) -> list[str]:
    """One line per model, each below what it was made from; the current one is marked with a star."""
    if not model_registry.has_model(workspace):
        return ["no model yet. Make one: al-loop pretrain, or: al-loop models import CHECKPOINT"]
    current, every = model_registry.current_model(workspace).id, model_registry.all_models(workspace)
    used = {row.model_id for row in all_promotions(workspace.store)}
    rows = [
        (f"{'*' if model.id == current else ' '} {_branch(depth)}{model.id}", _state(workspace, model, used))
        for depth, model in model_registry.descent(every)
    ]
    width = max(len(name) for name, _ in rows)
    return [f"{name.ljust(width)}  {state}" for name, state in rows]


def _branch(depth: int) -> str:
    """The strokes before a name: years of cycles, each made from the last, stay on the screen."""
    return "" if depth == 0 else f"{'  ' * (min(depth, _DEEPEST) - 1)}└ "


def _state(workspace: Workspace, model: Model, used: set[str]) -> str:
    metrics = saved_metrics(workspace, model.id)
    reached = f"{words(metrics)}  AP50 {metrics.ap50:.3f}" if metrics else "not evaluated"
    note = "" if model.id in used else "  never in use"
    origin = f"  from {model.parent}" if model.parent else ""
    return f"{reached}  {model.created_at}{origin}{note}{'  files deleted' if model.removed_at else ''}"


def words(metrics: Metrics) -> str:
    """AP with its interval, where there is one."""
    if metrics.low is None or metrics.high is None:
        return f"AP {metrics.ap:.3f}"
    return f"AP {metrics.ap:.3f} ({metrics.low:.3f} to {metrics.high:.3f})"


def describe(workspace: Workspace, model_id: str | None = None) -> list[str]:
    """Everything that is known of a model, by default the current one; ModelError for one that there is not."""
    model = (
        model_registry.get_model(workspace, model_id) if model_id else model_registry.current_model(workspace)
    )
    origin = f"cycle {model.cycle}" if model.cycle is not None else model.origin
    lines = [
        f"model      {model.id}",
        f"made by    {origin}, from {' ← '.join(_ancestors(workspace, model)) or 'nothing'}, {model.created_at}",
        f"weights    {model.weights_sha256}",
        f"config     {model.config_sha256 or 'of an older al-loop, without a hash'}",
        f"folder     {model.folder}, {folder_bytes(model.folder) / 1e6:.1f} MB",
    ]
    if model.removed_at:
        lines.append(f"deleted    its files, by gc, {model.removed_at}")
    notes = model_training.training_notes(workspace, model)
    if {"epochs", "images"} <= notes.keys():
        numbers = f", {notes['precision']}" if "precision" in notes else ""
        lines.append(f"training   {notes['images']} images, {notes['epochs']} epochs{numbers}")
    lines += [f"note       {note}" for note in notes.get("notes", ())]
    lines += [
        f"in use     since {row.at}: {row.reason}"
        for row in all_promotions(workspace.store)
        if row.model_id == model.id
    ]
    for name in repository.set_names(workspace):
        metrics = saved_metrics(workspace, model.id, name=name)
        if metrics is None:
            lines.append(f"{name}: not judged")
            continue
        lines.append(
            f"{name}: {words(metrics)}, AP50 {metrics.ap50:.3f}, AP75 {metrics.ap75:.3f}, {metrics.images} images"
        )
        lines += [f"  {c}: {'no box' if ap is None else f'{ap:.3f}'}" for c, ap in metrics.per_class.items()]
    return lines + _compared(model)


def _compared(model: Model) -> list[str]:
    """What the promotion noted of the model beside the one before it, as far as it can be read."""
    kept = model.folder / COMPARISON
    if not kept.is_file():
        return []
    try:
        found = read_json(kept)
        return [
            f"{name}, minus {found['against']}: {d['value']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f}) AP"
            for name, d in ((name, one["ap"]) for name, one in found["sets"].items())
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return [f"{COMPARISON} is damaged: how far it was from the model before is not known"]


def _ancestors(workspace: Workspace, model: Model) -> list[str]:
    found: list[str] = []
    while model.parent is not None:
        model = model_registry.get_model(workspace, model.parent)
        found.append(model.id)
    return found
