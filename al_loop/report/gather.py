"""Reads what a report says from the workspace; what is missing is left out, never an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from al_loop.core.config import Config
from al_loop.core.errors import DataError, WorkspaceError
from al_loop.core.files import printable
from al_loop.core.frozen_settings import UnreadableError, thawed
from al_loop.evaluation.detection_counts import count
from al_loop.images.repository import labels_until, set_names, validation
from al_loop.labelling.client.task import Edits
from al_loop.labelling.open_tasks import queue_address
from al_loop.loop.status import describe, pool_counts
from al_loop.models.evaluation import predictions_dir
from al_loop.report.data import (
    ClassRow,
    Cost,
    CycleRow,
    Errors,
    Judged,
    ModelRow,
    PickRow,
    Pool,
    Promotion,
    Report,
    Start,
)
from al_loop.report.monitor_section import watched
from al_loop.state.database import cycle_table, label_table, model_table, pick_table, stage_table
from al_loop.state.database.dataset_table import rendered_count
from al_loop.state.database.facts import read_fact
from al_loop.state.database.store import Store
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import all_models, current_model, has_model, saved_metrics
from al_loop.state.stages import output_of
from al_loop.state.workspace import Workspace, now
from al_loop.structures.images import ImageFile
from al_loop.structures.metrics import VALIDATION


def gather(workspace: Workspace) -> Report:
    """Return what the report says of a workspace, all of it from one moment."""
    with workspace.store.snapshot():
        cycles = _cycles(workspace)
        models = _models(workspace)
        start = _start(workspace, cycles, models)
        return Report(
            name=workspace.config.name,
            classes=workspace.config.classes,
            written_at=now(),
            note=read_fact(workspace.store, "pool_note"),
            pool=_pool(workspace),
            next_command=dict(line.split(maxsplit=1) for line in describe(workspace))["next"],
            start=start,
            cycles=tuple(reversed(cycles)),
            per_class=_per_class(workspace, start, models),
            models=models,
            promotions=tuple(
                Promotion(row.model_id, row.reason, row.at)
                for row in model_table.all_promotions(workspace.store)
            ),
            cost=_cost(workspace.store, None),
            errors=_errors(workspace, models),
            watch=watched(workspace),
        )


def _pool(workspace: Workspace) -> Pool:
    store, counts = workspace.store, pool_counts(workspace)
    return Pool(
        labelled=counts.get("labelled", 0),
        empty=counts.get("empty", 0),
        skipped=counts.get("skipped", 0),
        unlabelled=counts.get("unlabelled", 0),
        boxes=label_table.boxes_until(store, None),
        validation=label_table.set_size(store, VALIDATION),
        rendered=rendered_count(store),
    )


def _cycles(workspace: Workspace) -> list[CycleRow]:
    picks = _picks(workspace)
    return [
        _cycle(workspace, row, tuple(picks.get(row.number, ())))
        for row in cycle_table.all_cycles(workspace.store)
    ]


def _cycle(workspace: Workspace, row: cycle_table.CycleRow, picks: tuple[PickRow, ...]) -> CycleRow:
    store, number = workspace.store, row.number
    folder = workspace.cycle_dir(number)
    trained = model_table.model_of_cycle(store, number)
    candidate = trained.id if trained else None
    before, after = _compared(store, row.model_id, candidate)
    pushed = output_of(store, f"cycle-{number}", "push", folder / "push")
    queue = queue_address(workspace, pushed) if row.outcome is None else None
    stages = stage_table.stages_of(store, f"cycle-{number}")
    return CycleRow(
        number=number,
        k=row.k,
        settings=_settings(workspace, row.settings),
        model_id=row.model_id,
        candidate_id=candidate,
        outcome=row.outcome,
        reason=row.reason,
        labels=_labels_at(workspace, number, candidate),
        boxes=label_table.boxes_until(store, number),
        before=before,
        after=after,
        started_at=row.started_at,
        finished_at=row.finished_at,
        stages={stage.name: stage.state for stage in stages},
        queue_url=queue,
        picks=picks,
        cost=_cost(store, number),
        edits=_edits(output_of(store, f"cycle-{number}", "pull", folder / "pull").get("edits")),
    )


def _edits(noted: Any) -> Edits | None:
    return Edits(**noted) if isinstance(noted, dict) else None


def _cost(store: Store, cycle: int | None) -> Cost:
    """Return what people spent on a cycle, or on the whole pool."""
    cost = label_table.label_cost(store, cycle)
    return Cost(cost.images, cost.boxes, cost.seconds / 60, cost.timed)


def _errors(workspace: Workspace, models: tuple[ModelRow, ...]) -> Errors | None:
    """Return what the model in use gets right on the validation set; None where its predictions are gone."""
    current = next((row.model for row in models if row.current), None)
    if current is None:
        return None
    store = shards_in(workspace, predictions_dir(workspace.config, current))
    try:
        truth, scored = validation(workspace), store.load()
    except (DataError, WorkspaceError):
        return None
    if store.damaged():
        return None
    predicted = scored.boxes_by_image()
    if not all(item.image.id in predicted for item in truth):
        return None
    return Errors(current.id, count(truth, predicted))


def _settings(workspace: Workspace, text: str) -> Config:
    """Return the settings a cycle began with; today's where an older al-loop wrote what we cannot read."""
    try:
        return thawed(text)
    except UnreadableError:
        return workspace.config


def _picks(workspace: Workspace) -> Mapping[int, list[PickRow]]:
    picks: dict[int, list[PickRow]] = {}
    for row in pick_table.picked_images(workspace.store):
        image = ImageFile(
            row.image_id,
            workspace.root / row.file,
            row.width,
            row.height,
            sha256=row.stored_sha256,
        )
        picks.setdefault(row.cycle, []).append(
            PickRow(
                rank=row.rank,
                image=image,
                name=printable(Path(row.source).name),
                uncertainty=row.uncertainty,
                reason=row.reason,
                state=row.state,
            )
        )
    return picks


def _labels_at(workspace: Workspace, number: int, candidate: str | None) -> int:
    """Return how many labels a cycle trained on; without a training, how many there were until then."""
    trained = None
    if candidate:
        folder = workspace.model_dir(candidate)
        trained = output_of(workspace.store, f"cycle-{number}", "train", folder).get("images")
    if isinstance(trained, int):
        return trained
    return labels_until(workspace, number)


def _compared(store: Store, start: str, candidate: str | None) -> tuple[Judged | None, Judged | None]:
    """Return the metrics of a cycle's two models, on the newest validation set that has judged both."""
    if candidate is None:
        return _judged(store, start), None
    on = model_table.newest_common_hash(store, candidate, start)
    return _judged(store, start, on), _judged(store, candidate, on)


def _judged(store: Store, model_id: str, on: str | None = None) -> Judged | None:
    """Return a model's metrics on the validation set of that hash, or on the last that judged it."""
    found = model_table.read_evaluation(store, model_id, on)
    return Judged(found.metrics, found.validation_hash) if found else None


def _models(workspace: Workspace) -> tuple[ModelRow, ...]:
    current = current_model(workspace).id if has_model(workspace) else None
    others = [name for name in set_names(workspace) if name != VALIDATION]
    return tuple(
        ModelRow(
            model,
            _judged(workspace.store, model.id),
            model.id == current,
            {
                name: metrics
                for name in others
                if (metrics := saved_metrics(workspace, model.id, name=name)) is not None
            },
        )
        for model in all_models(workspace)
    )


def _start(workspace: Workspace, cycles: list[CycleRow], models: tuple[ModelRow, ...]) -> Start | None:
    """Return where the curve begins: the first cycle's model, or the current one while there is no cycle."""
    if cycles:
        return Start(cycles[0].model_id, cycles[0].before or _judged(workspace.store, cycles[0].model_id))
    return next((Start(row.model.id, row.judged) for row in models if row.current), None)


def _per_class(
    workspace: Workspace, start: Start | None, models: tuple[ModelRow, ...]
) -> tuple[ClassRow, ...]:
    """Return first and current AP by class, on the newest validation set that has judged both."""
    current = next((row.model.id for row in models if row.current), None)
    if start is None or current is None:
        return ()
    first, last = _compared(workspace.store, start.model_id, current)
    if last is None:
        return ()
    same = first is not None and first.validation_hash == last.validation_hash
    return tuple(
        ClassRow(
            name,
            first.metrics.per_class.get(name) if first and same else None,
            last.metrics.per_class.get(name),
        )
        for name in workspace.config.classes
    )
