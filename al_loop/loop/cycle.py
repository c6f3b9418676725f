"""One cycle of the loop, stage by stage; each stage is resumable and is done once."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from al_loop.core.console import Reporter
from al_loop.core.errors import (
    ConfigError,
    DataError,
    LabelStudioError,
    ModelError,
    TrainingError,
    WorkspaceError,
)
from al_loop.core.files import json_hash, printable, read_json, write_json
from al_loop.core.frozen_settings import hashed
from al_loop.images import repository
from al_loop.images.identity import take_out_copies
from al_loop.images.object_cache import changed_files, check_unchanged
from al_loop.labelling import sync
from al_loop.labelling.backend import server_name
from al_loop.labelling.open_tasks import queue_address
from al_loop.loop.cycle_record import Cycle, begin_cycle, open_cycle, open_cycle_number
from al_loop.loop.manifest import LABELS, complete_manifests, write_manifest
from al_loop.loop.recovery import with_ways_out
from al_loop.loop.stages import output_in, relative, score_stage, scored_pool, select_stage, stage_of
from al_loop.models import service
from al_loop.models.promotion import Judgement, judge
from al_loop.state import model_registry
from al_loop.state.database.cycle_table import finish_cycle
from al_loop.state.model_registry import Model
from al_loop.state.stages import Output, Stage, Waiting, output_of, run_stage
from al_loop.state.workspace import Workspace, now
from al_loop.structures.metrics import VALIDATION
from al_loop.structures.picks import Pick

_NAMED = 5  # images on which people disagree most


@dataclass(frozen=True)
class CycleResult:
    """How a cycle stands after a run: finished, or waiting for people."""

    number: int
    finished: bool
    message: str


def run_cycle(
    workspace: Workspace,
    k: int | None,
    reporter: Reporter,
    *,
    incomplete: bool = False,
    ray: str | None = None,
) -> CycleResult:
    """Begin a cycle, or go on with the open one, as far as it can go without people.

    incomplete: train on what they have labelled so far; what comes later is for the next cycle.
    ray: address of a cluster to score the pool on.
    """
    complete_manifests(workspace)
    cycle = open_cycle(workspace, k, reporter) or begin_cycle(workspace, k, reporter)
    workspace = Workspace(workspace.root, cycle.settings, workspace.store)
    try:
        service.check_gpus(workspace, workspace.config.train)
        score_stage(workspace, cycle, reporter, ray)
        picks = select_stage(workspace, cycle, reporter)
        _push(workspace, cycle, picks, reporter)
        _pull(workspace, cycle, reporter, incomplete=incomplete)
        candidate = _train(workspace, cycle, reporter)
        judged = _evaluate(workspace, candidate, reporter)
        reason = _promote(workspace, cycle, candidate, judged, reporter)
    except Waiting as waiting:
        return CycleResult(cycle.number, False, str(waiting))
    except (ConfigError, DataError, ModelError, TrainingError, WorkspaceError) as error:
        raise with_ways_out(error, cycle.number) from error
    write_manifest(workspace, cycle.number)
    return CycleResult(cycle.number, True, reason)


def _push(workspace: Workspace, cycle: Cycle, picks: list[Pick], reporter: Reporter) -> None:
    answered = sync.answered_elsewhere(workspace, cycle.number)
    fresh = [p for p in picks if not p.known and p.image_id not in answered]

    def work(_: Path) -> Output:
        lost = repository.keep(workspace, [p.image_id for p in fresh])
        for reason in lost.values():
            reporter.line(f"  left out: {printable(reason)}")
        copies = _take_out_copies(workspace, [p.image_id for p in fresh], reporter)
        gone = {*lost, *copies}
        images = repository.images_by_id(workspace, [p.image_id for p in fresh if p.image_id not in gone])
        damaged = changed_files(images)
        for reason in damaged.values():
            reporter.line(f"  left out: {printable(reason)}")
        gone |= set(damaged)
        there = [p for p in fresh if p.image_id not in gone]
        project_id, result = sync.push_picks(
            workspace, cycle.number, there, scored_pool(workspace, cycle), cycle.model.id
        )
        return {
            "tasks": len(there),
            "server": server_name(workspace),
            "project_id": project_id,
            "view_id": result.view_id,
            "queue_url": result.queue_url,
        }

    stage = stage_of(workspace, cycle, "push", picks=json_hash([asdict(p) for p in fresh]))
    done = run_stage(workspace.store, stage, work)
    where = queue_address(workspace, done) or "the embedded server"
    reporter.line(f"  push: {done['tasks']} tasks with the model's boxes → {where}")


def _take_out_copies(workspace: Workspace, ids: list[str], reporter: Reporter) -> list[str]:
    """Take images out of the pool that models are judged on by another file, and say so."""
    copies = take_out_copies(workspace, ids)
    for name in copies:
        reporter.line(f"  left out: {name[:12]} leaves the pool, models are judged on the same picture")
    return copies


def _pull(workspace: Workspace, cycle: Cycle, reporter: Reporter, *, incomplete: bool) -> None:
    stage = stage_of(workspace, cycle, "pull")

    def work(folder: Path) -> Output:
        pushed = _pushed(workspace, cycle)
        pulled = sync.pull_labels(workspace, cycle.number, pushed["server"], pushed["project_id"])
        if pulled.late:
            reporter.line(f"  pull: {pulled.late} labels of earlier cycles were added or changed since")
        for problem in pulled.problems:
            reporter.line(f"  refused: {printable(problem)}")
        if not pulled.complete and not (incomplete and pulled.answered):
            raise Waiting(_waiting(workspace, cycle, pulled))
        for image, share in sorted(pulled.disagreements.items(), key=lambda item: -item[1])[:_NAMED]:
            if share > 0:
                reporter.line(f"  {image[:12]}: people disagree on {100 * share:.0f} % of the boxes")
        _take_out_copies(workspace, [item.image.id for item in repository.labelled(workspace)], reporter)
        labels = repository.snapshot(repository.labelled(workspace))
        write_json(folder / LABELS, labels)
        return {
            "counts": pulled.counts,
            "labels_hash": json_hash(labels),
            "edits": asdict(pulled.edits),
            "disagreements": pulled.disagreements,
        }

    done = run_stage(workspace.store, stage, work)
    if not _as_pulled(stage.folder / LABELS, done):
        reporter.line(f"  {relative(workspace, stage.folder / LABELS)} is not what was pulled: pulled again")
        shutil.rmtree(stage.folder)
        done = run_stage(workspace.store, stage, work)
    counts = done["counts"]
    said = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    reporter.line(f"  pull: {said or 'nothing to label'}")


def _as_pulled(path: Path, done: Output) -> bool:
    """Whether the snapshot of the labels is what the pull has written; an older al-loop wrote none."""
    if "labels_hash" not in done:
        return True
    try:
        return bool(json_hash(read_json(path)) == done["labels_hash"])
    except (OSError, ValueError, RecursionError):
        return False


def _train(workspace: Workspace, cycle: Cycle, reporter: Reporter) -> Model | None:
    """Return the fine-tuned candidate, or None when no label has a box to learn from."""
    # As they were pulled: what people change while this trains is for the next cycle.
    frozen = workspace.cycle_dir(cycle.number) / "pull" / LABELS
    if frozen.is_file():
        training = repository.from_snapshot(workspace, read_json(frozen))
    else:  # pulled by an al-loop that kept none
        training = repository.labelled(workspace)
    validation = repository.validation(workspace)
    if not any(len(item.boxes) for item in training):
        reporter.line("  train: left out, none of the labelled images has a box")
        return None
    model_id = f"cycle-{cycle.number}"
    stage = Stage(
        job=f"cycle-{cycle.number}",
        name="train",
        folder=workspace.model_dir(model_id),
        inputs={
            "start": cycle.model.weights_sha256,
            "labels": repository.labels_hash(training),
            "validation": repository.labels_hash(validation),
            "settings": hashed(workspace.config, "train"),
        },
    )

    def work(folder: Path) -> Output:
        damaged = changed_files(item.image for item in training)
        for reason in damaged.values():
            reporter.line(f"  left out: {reason}")
        check_unchanged((item.image for item in validation), VALIDATION)
        intact = [item for item in training if item.image.id not in damaged]
        with reporter.progress("fine-tune") as progress:
            return service.train_model(
                workspace, folder, cycle.model, intact, validation, workspace.config.train, progress
            )

    done = run_stage(workspace.store, stage, work)
    empty = sum(not len(item.boxes) for item in training)
    reporter.line(
        f"  train: {done['images']} images, {empty} of them empty, {done['epochs']} epochs "
        f"→ {relative(workspace, stage.folder)}"
    )
    return model_registry.register_model(
        workspace,
        model_id,
        "cycle",
        done["weights_sha256"],
        cycle.model.id,
        cycle.number,
        done.get("config_sha256"),
    )


def _evaluate(workspace: Workspace, candidate: Model | None, reporter: Reporter) -> Judgement | None:
    """Hold the candidate against the current model, which a rollback may have changed since."""
    if candidate is None:
        return None
    judged = judge(workspace, candidate, model_registry.current_model(workspace), reporter)
    after, before = judged.candidate, judged.current or judged.candidate
    reporter.line(
        f"  evaluate: AP {before.ap:.3f} → {after.ap:.3f}, AP50 {before.ap50:.3f} → {after.ap50:.3f} "
        f"on {after.images} validation images"
    )
    return judged


def _promote(
    workspace: Workspace, cycle: Cycle, candidate: Model | None, judged: Judgement | None, reporter: Reporter
) -> str:
    """Make the candidate current if it is not worse; close the cycle either way."""
    if candidate is None or judged is None:
        promoted, reason = False, "nothing to learn from: no label has a box"
    else:
        promoted, reason = judged.decision.promote, judged.decision.reason
    with workspace.store.transaction():
        if promoted and candidate is not None:
            model_registry.promote(workspace, candidate, reason)
        outcome = "promoted" if promoted else "kept"
        finish_cycle(workspace.store, cycle.number, outcome, reason, now())
    current = model_registry.current_model(workspace).id
    reporter.line(
        f"  {'promoted' if promoted else 'kept the old model'}: {reason} (current model: {current})"
    )
    return reason


def _pushed(workspace: Workspace, cycle: Cycle) -> Output:
    """Return what the push of a cycle remembered: server, project, view, address of the queue."""
    return output_in(workspace, cycle, "push")


def _waiting(workspace: Workspace, cycle: Cycle, pulled: sync.Pulled) -> str:
    where = queue_address(workspace, _pushed(workspace, cycle)) or "al-loop label-studio start"
    lines = [
        f"{pulled.answered} of {pulled.total} labelled. Label the rest: {where}",
        "Then run again: al-loop cycle",
    ]
    if refused := pulled.counts.get("refused", 0):
        other = "al-loop cycle --partial" if pulled.answered else "al-loop cycle --abandon"
        lines.append(f"{refused} refused tasks wait for their correction. To go on without: {other}")
    return "\n".join(lines)


def restart_labelling(workspace: Workspace, *, anyway: bool = False) -> str:
    """Forget the labelling project, so that the open cycle is pushed again into a new one; what people did is pulled first.

    Raises LabelStudioError where something would be lost with the project, unless it is to be left anyway.
    """
    number = open_cycle_number(workspace)
    folder = workspace.cycle_dir(number or 0) / "push"
    if number is not None and (pushed := output_of(workspace.store, f"cycle-{number}", "push", folder)):
        lost = sync.last_pull(workspace, number, pushed["server"], pushed["project_id"])
        if lost and not anyway:
            raise LabelStudioError(
                f"the project holds what another one would not: {'; '.join(lost)}. Nothing was changed. Have it finished, "
                "or leave it: al-loop label-studio new-project --yes"
            )
    sync.forget_project(workspace, number)
    if number is not None:
        shutil.rmtree(folder, ignore_errors=True)
    return "what people have answered is kept; the next push begins another project. Run: al-loop cycle"
