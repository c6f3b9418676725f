"""Read the content of a report from the workspace. What is missing is left out, never an error."""

from __future__ import annotations

from pathlib import Path

from al_loop.core.config import Config
from al_loop.core.errors import DataError, WorkspaceError
from al_loop.core.files import printable
from al_loop.core.frozen_settings import UnreadableError, thawed
from al_loop.evaluation.detection_counts import count
from al_loop.images.repository import validation
from al_loop.labelling.client.task import Edits
from al_loop.labelling.open_tasks import queue_address
from al_loop.loop.status import describe, pool_counts
from al_loop.models.evaluation import predictions_dir
from al_loop.models.model_training import training_notes
from al_loop.models.self_training import verdict
from al_loop.report.data import (
    ClassRow,
    CycleRow,
    Errors,
    ModelRow,
    PickRow,
    Pool,
    Report,
    Start,
    first_evaluated,
)
from al_loop.report.monitor_section import monitor_section
from al_loop.state.database import cycle_table, label_table, model_table, pick_table, stage_table
from al_loop.state.database.dataset_table import rendered_count
from al_loop.state.database.facts import read_fact
from al_loop.state.database.model_table import Evaluation, read_evaluation
from al_loop.state.database.store import Store
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import all_models, current_model, has_model, saved_metrics
from al_loop.state.stages import Output, output_of
from al_loop.state.workspace import Workspace, now
from al_loop.structures.images import ImageFile
from al_loop.structures.metrics import VALIDATION


def gather(workspace: Workspace) -> Report:
    """Return the content of a report, all of it from one moment."""
    store = workspace.store
    with store.snapshot():
        cycles = _cycles(workspace)
        models = _models(workspace)
        start = _start(workspace, cycles, models)
        return Report(
            name=workspace.config.name,
            classes=workspace.config.classes,
            written_at=now(),
            note=read_fact(store, "pool_note"),
            pool=_pool(workspace),
            next_command=dict(line.split(maxsplit=1) for line in describe(workspace))["next"],
            start=start,
            cycles=tuple(reversed(cycles)),
            per_class=_per_class(workspace, start, models),
            models=models,
            promotions=tuple(model_table.all_promotions(store)),
            cost=label_table.label_cost(store),
            errors=_errors(workspace, models),
            monitor=monitor_section(workspace),
        )


def _pool(workspace: Workspace) -> Pool:
    store, counts = workspace.store, pool_counts(workspace)
    return Pool(
        **{name: counts.get(name, 0) for name in ("labelled", "empty", "skipped", "unlabelled")},
        boxes=label_table.label_cost(store).boxes,
        validation=label_table.set_size(store, VALIDATION),
        rendered=rendered_count(store),
    )


def _cycles(workspace: Workspace) -> list[CycleRow]:
    picks: dict[int, list[PickRow]] = {}
    for row in pick_table.picked_images(workspace.store):
        file = workspace.root / row.file
        image = ImageFile(row.image_id, file, row.width, row.height, sha256=row.stored_sha256)
        name = printable(Path(row.source).name)
        pick = PickRow(row.rank, image, name, row.uncertainty, row.reason, row.state)
        picks.setdefault(row.cycle, []).append(pick)
    rows = cycle_table.all_cycles(workspace.store)
    return [_cycle(workspace, row, tuple(picks.get(row.number, ()))) for row in rows]


def _cycle(workspace: Workspace, row: cycle_table.CycleRow, picks: tuple[PickRow, ...]) -> CycleRow:
    store, name, folder = workspace.store, f"cycle-{row.number}", workspace.cycle_dir(row.number)
    trained = model_table.model_of_cycle(store, row.number)
    candidate = trained.id if trained else None
    before, after = _compared(store, row.model_id, candidate)
    training = output_of(store, name, "train", workspace.model_dir(candidate)) if candidate else {}
    pushed = output_of(store, name, "push", folder / "push")
    edits = output_of(store, name, "pull", folder / "pull").get("edits")
    return CycleRow(
        number=row.number,
        k=row.k,
        settings=_settings(workspace, row.settings),
        model_id=row.model_id,
        candidate_id=candidate,
        outcome=row.outcome,
        reason=row.reason,
        labels=_labels_at(workspace, row.number, training),
        boxes=training.get("label_boxes", label_table.label_cost(store, until=row.number).boxes),
        before=before,
        after=after,
        started_at=row.started_at,
        finished_at=row.finished_at,
        stages={stage.name: stage.state for stage in stage_table.stages_of(store, name)},
        queue_url=queue_address(workspace, pushed) if row.outcome is None else None,
        validation_url=queue_address(workspace, pushed.get("validation", {}))
        if row.outcome is None
        else None,
        picks=picks,
        cost=label_table.label_cost(store, row.number),
        edits=Edits(**edits) if isinstance(edits, dict) else None,
        self_training=verdict(training),
    )


def _errors(workspace: Workspace, models: tuple[ModelRow, ...]) -> Errors | None:
    """Return detection counts of the current model; None where its predictions are gone."""
    current = next((row.model for row in models if row.current), None)
    if current is None:
        return None
    store = shards_in(workspace, predictions_dir(workspace.config, current))
    try:
        truth, scored = validation(workspace), store.load()
    except (DataError, WorkspaceError):
        return None
    predicted = scored.boxes_by_image()
    if store.damaged() or not all(item.image.id in predicted for item in truth):
        return None
    return Errors(current.id, count(truth, predicted))


def _settings(workspace: Workspace, text: str) -> Config:
    """Return the settings of a cycle; the current ones if an older al-loop wrote what cannot be read."""
    try:
        return thawed(text)
    except UnreadableError:
        return workspace.config


def _labels_at(workspace: Workspace, number: int, training: Output) -> int:
    """Return the number of labels that a cycle trained on; without a training, those until then."""
    trained = training.get("labels", training.get("images"))
    return trained if isinstance(trained, int) else label_table.labels_until(workspace.store, number)


def _compared(store: Store, start: str, candidate: str | None) -> tuple[Evaluation | None, Evaluation | None]:
    """Return the evaluations of two models on the newest validation set that both were evaluated on."""
    if candidate is None:
        return read_evaluation(store, start), None
    on = model_table.newest_common_hash(store, candidate, start)
    return read_evaluation(store, start, on), read_evaluation(store, candidate, on)


def _models(workspace: Workspace) -> tuple[ModelRow, ...]:
    current = current_model(workspace).id if has_model(workspace) else None
    others = [name for name in label_table.set_names(workspace.store) if name != VALIDATION]
    rows = []
    for model in all_models(workspace):
        found = {name: saved_metrics(workspace, model.id, name=name) for name in others}
        sets = {name: metrics for name, metrics in found.items() if metrics is not None}
        evaluation = read_evaluation(workspace.store, model.id)
        rows.append(ModelRow(model, evaluation, model.id == current, sets))
    return tuple(rows)


def _start(workspace: Workspace, cycles: list[CycleRow], models: tuple[ModelRow, ...]) -> Start | None:
    """Return where the curve begins: the first cycle's model, or the current one before any cycle."""
    first = cycles[0].model_id if cycles else None
    row = next((row for row in models if (row.model.id == first if first else row.current)), None)
    if row is None:
        return None
    before = cycles[0].before if cycles else None
    notes = training_notes(workspace, row.model)
    return Start(row.model.id, before or row.evaluation, notes.get("labels", 0), notes.get("label_boxes", 0))


def _per_class(
    workspace: Workspace, start: Start | None, models: tuple[ModelRow, ...]
) -> tuple[ClassRow, ...]:
    """Return first and current AP by class, on the newest validation set that both were evaluated on."""
    current = next((row.model.id for row in models if row.current), None)
    beginning = first_evaluated(start, models)
    if beginning is None or current is None:
        return ()
    first, last = _compared(workspace.store, beginning.model.id, current)
    if last is None:
        return ()
    same = first is not None and first.validation_hash == last.validation_hash
    before = first.metrics.per_class if first and same else {}
    after = last.metrics.per_class
    return tuple(ClassRow(name, before.get(name), after.get(name)) for name in workspace.config.classes)
