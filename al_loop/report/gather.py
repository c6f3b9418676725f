"""Read the content of a report from the workspace. What is missing is left out, never an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from al_loop.core.config import Config
from al_loop.core.errors import DataError, WorkspaceError
from al_loop.core.files import printable
from al_loop.core.frozen_settings import UnreadableError, thawed
from al_loop.evaluation.detection_counts import CountRuleName, count
from al_loop.evaluation.precision_recall import class_curves
from al_loop.images.repository import validation
from al_loop.labelling.client.task import Agreement, Edits
from al_loop.labelling.open_tasks import queue_address
from al_loop.loop.status import describe, pool_counts
from al_loop.models.evaluation import boxes_of, predictions_dir
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
    SetCurves,
    Start,
    first_evaluated,
)
from al_loop.report.monitor_section import monitor_section
from al_loop.report.time_saved import time_saved
from al_loop.state.database import cycle_table, label_table, model_table, pick_table, stage_table
from al_loop.state.database.dataset_table import rendered_count
from al_loop.state.database.facts import read_fact
from al_loop.state.database.model_table import Evaluation, read_evaluation
from al_loop.state.database.store import Store
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import all_models, current_model, has_model, saved_metrics
from al_loop.state.stages import Output, output_of, output_of_cycle
from al_loop.state.workspace import Workspace, now
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage
from al_loop.structures.metrics import VALIDATION, MetricName


def gather(workspace: Workspace, rule: CountRuleName = "iou") -> Report:
    """Return the content of a report, all of it from one moment. rule: how boxes are counted."""
    store = workspace.store
    with store.snapshot():
        cycles = _cycles(workspace)
        models = _models(workspace)
        start = _start(workspace, cycles, models)
        metric = _metric(workspace, models)
        predicted = _predicted(workspace, models)
        return Report(
            name=workspace.config.name,
            classes=workspace.config.classes,
            metric=metric,
            written_at=now(),
            note=read_fact(store, "pool_note"),
            pool=_pool(workspace),
            next_command=dict(line.split(maxsplit=1) for line in describe(workspace))["next"],
            start=start,
            cycles=tuple(reversed(cycles)),
            per_class=_per_class(workspace, start, models, metric),
            models=models,
            promotions=tuple(model_table.all_promotions(store)),
            cost=label_table.label_cost(store),
            time_saved=time_saved(workspace),
            agreement=_agreement(workspace, cycles, "agreement"),
            gold=_agreement(workspace, cycles, "gold"),
            errors=_errors(predicted, rule),
            curves=_curves(workspace, predicted),
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


def _agreement(workspace: Workspace, cycles: Sequence[CycleRow], name: str) -> Agreement:
    """Return an agreement that the pulls of all cycles counted under a name. Older ones counted none."""
    pulled = [output_of_cycle(workspace, cycle.number, "pull") for cycle in cycles]
    return sum((Agreement(**done[name]) for done in pulled if name in done), Agreement())


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


@dataclass(frozen=True)
class _Predicted:
    """Stored predictions of the current model on a set, with their masks."""

    model_id: str
    set_name: str
    truth: list[LabelledImage]
    boxes: dict[str, Boxes]


def _predicted(workspace: Workspace, models: tuple[ModelRow, ...]) -> list[_Predicted]:
    """Return the predictions of the current model on each set; none of a set where they are gone."""
    current = next((row.model for row in models if row.current), None)
    if current is None:
        return []
    store = shards_in(workspace, predictions_dir(workspace.config, current))
    try:
        scored = store.load()
    except WorkspaceError:
        return []
    if store.damaged():
        return []
    found = []
    for name in label_table.set_names(workspace.store):
        with suppress(DataError, WorkspaceError, KeyError):
            truth = validation(workspace, name)
            boxes = boxes_of(scored, truth, masks=workspace.config.outlined)
            found.append(_Predicted(current.id, name, truth, boxes))
    return found


def _errors(predicted: Sequence[_Predicted], rule: CountRuleName) -> Errors | None:
    """Return detection counts of the current model; None where its predictions are gone."""
    on = next((each for each in predicted if each.set_name == VALIDATION), None)
    return Errors(on.model_id, count(on.truth, on.boxes, rule), rule) if on else None


def _curves(workspace: Workspace, predicted: Sequence[_Predicted]) -> tuple[SetCurves, ...]:
    classes, metric = workspace.config.classes, workspace.config.key_metric
    return tuple(
        SetCurves(each.set_name, each.model_id, class_curves(each.truth, each.boxes, classes, metric))
        for each in predicted
    )


def _metric(workspace: Workspace, models: tuple[ModelRow, ...]) -> MetricName:
    """Return the metric of promotions; that of boxes if no model has the other."""
    masks = any(row.evaluation and row.evaluation.metrics.masks for row in models)
    return workspace.config.key_metric if masks else "box_ap"


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
    workspace: Workspace, start: Start | None, models: tuple[ModelRow, ...], metric: MetricName
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
    before, after = (_ap_of_classes(each, metric) for each in (first if same else None, last))
    return tuple(ClassRow(name, before.get(name), after.get(name)) for name in workspace.config.classes)


def _ap_of_classes(evaluation: Evaluation | None, metric: MetricName) -> Mapping[str, float | None]:
    metrics = evaluation.metrics.of(metric) if evaluation else None
    return metrics.per_class if metrics else {}
