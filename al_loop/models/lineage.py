"""Describe the models of the workspace as lines of text: lineage, training and metrics."""

from __future__ import annotations

from al_loop.core.files import folder_bytes, read_json
from al_loop.evaluation.detection_counts import SCORE
from al_loop.models import model_training
from al_loop.models.promotion import COMPARISON
from al_loop.models.self_training import verdict
from al_loop.state.database.label_table import set_names
from al_loop.state.database.model_table import all_promotions
from al_loop.state.model_registry import (
    Model,
    all_models,
    current_model,
    descent,
    get_model,
    has_model,
    saved_metrics,
)
from al_loop.state.workspace import Workspace
from al_loop.structures.metrics import ImageLevel, MaskMetrics, Metrics

_MAX_INDENT = 8  # levels of the tree: the lines of a long chain of cycles must fit on the screen


def tree(workspace: Workspace) -> list[str]:
    """Return one line per model, each below its parent. A star marks the current model."""
    if not has_model(workspace):
        return [
            "no model yet. Make one: al-loop cycle, al-loop pretrain, or al-loop models import CHECKPOINT"
        ]
    current, models = current_model(workspace).id, all_models(workspace)
    used = {row.model_id for row in all_promotions(workspace.store)}
    rows = []
    for depth, model in descent(models):
        star = "*" if model.id == current else " "
        branch = f"{'  ' * (min(depth, _MAX_INDENT) - 1)}└ " if depth else ""
        rows.append((f"{star} {branch}{model.id}", _state(workspace, model, used)))
    width = max(len(name) for name, _ in rows)
    return [f"{name.ljust(width)}  {state}" for name, state in rows]


def _state(workspace: Workspace, model: Model, used: set[str]) -> str:
    metrics = saved_metrics(workspace, model.id)
    quality = f"{format_ap(metrics)}  AP50 {metrics.ap50:.3f}" if metrics else "not evaluated"
    if metrics and metrics.masks:
        quality = f"mask {format_ap(metrics.masks)}  box {quality}"
    parts = [quality, model.created_at]
    parts += [f"from {model.parent}"] if model.parent else []
    parts += ["never in use"] if model.id not in used else []
    parts += ["files deleted"] if model.removed_at else []
    return "  ".join(parts)


def format_ap(metrics: Metrics | MaskMetrics) -> str:
    """Format the AP, with its interval if there is one."""
    if metrics.low is None or metrics.high is None:
        return f"AP {metrics.ap:.3f}"
    return f"AP {metrics.ap:.3f} ({metrics.low:.3f} to {metrics.high:.3f})"


def describe(workspace: Workspace, model_id: str | None = None) -> list[str]:
    """Describe a model, by default the current one. Raises ModelError for an unknown model."""
    model = get_model(workspace, model_id) if model_id else current_model(workspace)
    origin = f"cycle {model.cycle}" if model.cycle is not None else model.origin
    ancestors = " ← ".join(_ancestors(workspace, model)) or "nothing"
    lines = [
        f"model      {model.id}",
        f"made by    {origin}, from {ancestors}, {model.created_at}",
        f"weights    {model.weights_sha256}",
        f"config     {model.config_sha256 or 'written by an older al-loop, which stored no hash'}",
        f"folder     {model.folder}, {folder_bytes(model.folder) / 1e6:.1f} MB",
    ]
    if model.removed_at:
        lines.append(f"deleted    by gc, {model.removed_at}")
    notes = model_training.training_notes(workspace, model)
    if "images" in notes and {"steps", "epochs"} & notes.keys():
        precision = f", {notes['precision']}" if "precision" in notes else ""
        length = model_training.length_of(notes)
        lines.append(f"training   {notes['images']} images, {length}{precision}")
    if (self_trained := verdict(notes)) is not None:
        lines.append(f"self-training {self_trained}")
    lines += [f"note       {note}" for note in notes.get("notes", ())]
    promotions = [row for row in all_promotions(workspace.store) if row.model_id == model.id]
    lines += [f"in use     since {row.at}: {row.reason}" for row in promotions]
    for name in set_names(workspace.store):
        lines += _metrics(name, saved_metrics(workspace, model.id, name=name))
    return lines + _comparison_lines(model)


def _metrics(name: str, metrics: Metrics | None) -> list[str]:
    if metrics is None:
        return [f"{name}: not evaluated"]
    more = f"AP50 {metrics.ap50:.3f}, AP75 {metrics.ap75:.3f}, {metrics.images} images"
    classes = {c: "no box" if ap is None else f"{ap:.3f}" for c, ap in metrics.per_class.items()}
    lines = [f"{name}: {format_ap(metrics)}, {more}", *(f"  {c}: {ap}" for c, ap in classes.items())]
    return lines + _mask_lines(name, metrics.masks) + _image_lines(name, metrics.image_level)


def _mask_lines(name: str, masks: MaskMetrics | None) -> list[str]:
    if masks is None:
        return []
    lines = [
        f"{name}, masks: {format_ap(masks)}, AP50 {masks.ap50:.3f}, AP75 {masks.ap75:.3f}, "
        f"{masks.outlines} outlines",
        f"{name}, pixels: mean IoU {masks.mean_iou}, mean Dice {masks.mean_dice}",
    ]
    for label, ap in masks.per_class.items():
        iou, dice = masks.iou[label], masks.dice[label]
        known = ap is not None and iou is not None and dice is not None
        lines.append(
            f"  {label}: {f'AP {ap:.3f}, IoU {iou:.3f}, Dice {dice:.3f}' if known else 'no outline'}"
        )
    return lines


def _image_lines(name: str, level: ImageLevel | None) -> list[str]:
    if level is None:
        return []
    lines = [f"{name}, images that show a class (boxes of score {SCORE:g} or more):"]
    for label, recall in level.recall.items():
        precision = level.precision[label] or "unknown, found on no image"
        lines.append(f"  {label}: {f'precision {precision}, recall {recall}' if recall else 'on no image'}")
    return lines


def _comparison_lines(model: Model) -> list[str]:
    """Return the differences to the previous model, as the promotion recorded them."""
    path = model.folder / COMPARISON
    if not path.is_file():
        return []
    try:
        comparison = read_json(path)
        lines = []
        for name, entry in comparison["sets"].items():
            for found, title in ((entry, "AP"), (entry.get("masks"), "mask AP")):
                if found is not None:
                    value, low, high = (found["ap"][key] for key in ("value", "low", "high"))
                    spread = f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
                    lines.append(f"{name}, minus {comparison['against']}: {spread} {title}")
        return lines
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return [f"{COMPARISON} is damaged: the difference to the previous model is unknown"]


def _ancestors(workspace: Workspace, model: Model) -> list[str]:
    names: list[str] = []
    while model.parent is not None:
        model = get_model(workspace, model.parent)
        names.append(model.id)
    return names
