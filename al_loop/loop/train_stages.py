"""Stages of a cycle after labelling: train a candidate, evaluate it, decide on its promotion."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from msgspec import structs, to_builtins

from al_loop.core.console import Reporter
from al_loop.core.frozen_settings import hashed
from al_loop.core.training_config import TrainConfig
from al_loop.images import repository
from al_loop.images.coco import missing_classes
from al_loop.images.object_cache import check_unchanged
from al_loop.images.synthetic import without_mirroring
from al_loop.images.training_sets import (
    missing_warning,
    outline_warning,
    rendered_beside,
    usable_rendered,
    without_damaged,
)
from al_loop.loop.cycle_record import Cycle, frozen_pool
from al_loop.loop.selection_stages import relative
from al_loop.models import model_training, self_training
from al_loop.models.model_training import TrainingImages
from al_loop.models.promotion import PromotionResult, evaluate_candidate, promotion_sets
from al_loop.models.self_training import Pool, sample_unlabelled, train_with_pool
from al_loop.state import model_registry
from al_loop.state.database.cycle_table import finish_cycle
from al_loop.state.database.pick_table import picks_of
from al_loop.state.model_registry import INITIAL, Model
from al_loop.state.stages import Output, Stage, output_of_cycle, run_stage
from al_loop.state.workspace import Workspace, now
from al_loop.structures.images import ImageFile, LabelledImage, total_boxes
from al_loop.structures.metrics import VALIDATION, mask_summary


def train_stage(
    workspace: Workspace, cycle: Cycle, training: Sequence[LabelledImage], reporter: Reporter
) -> Model | None:
    """Fine-tune a candidate on the labels. Return None if no label has a box.

    Without a model, the candidate is trained as `al-loop pretrain` does: on rendered images, too. If there
    are none, the photographs are changed as `[train.augment]` says.
    """
    validation = repository.validation(workspace)
    if not any(len(item.boxes) for item in training):
        reporter.line("  train: left out, none of the labelled images has a box")
        return None
    if missing := missing_classes(training, workspace.config.classes):
        reporter.line(f"  {missing_warning(missing)}")
    workspace = without_mirroring(workspace, reporter)
    model_id, start = f"cycle-{cycle.number}", cycle.model
    settings = settings_of(workspace, cycle)
    first = start.origin == INITIAL
    rendered = (
        usable_rendered(workspace, reporter) if first else rendered_beside(workspace, settings, reporter)
    )
    if first and not rendered:
        settings = structs.replace(settings, augment=workspace.config.train.augment)
    if warning := outline_warning(workspace, [*training, *rendered]):
        reporter.line(f"  {warning}")
    unlabelled = _unlabelled(workspace, cycle, training)
    partly = set(output_of_cycle(workspace, cycle.number, "pull").get("verified", ()))
    outlined = workspace.config.outlined
    labels_hash = partial(repository.labels_hash, outlines=outlined)
    inputs = {
        "start": start.weights_sha256,
        "labels": labels_hash(training),
        "validation": labels_hash(validation),
        "settings": hashed(workspace.config, "pretrain" if first else "train"),
        **({"rendered": labels_hash(rendered)} if rendered else {}),
        **({"augment": to_builtins(settings.augment)} if first and not rendered else {}),
        **({"metric": workspace.config.key_metric} if outlined else {}),
        **self_training.stage_inputs(workspace, unlabelled),
    }
    stage = Stage(model_id, "train", workspace.model_dir(model_id), inputs)

    def work(folder: Path) -> Output:
        intact = without_damaged(training, reporter)
        check_unchanged((item.image for item in validation), VALIDATION)
        drawn = intact if outlined else repository.with_outlines(workspace, intact)
        images = TrainingImages(drawn, validation, rendered)
        pool = Pool(unlabelled, len(intact), promotion_sets(workspace))
        if first:
            images = TrainingImages([*rendered, *drawn], validation)
        output = train_with_pool(
            workspace, folder, None if first else start, images, pool, settings, reporter
        )
        whole = [item for item in intact if item.image.id not in partly]
        return output | {"labels": len(whole), "label_boxes": total_boxes(whole)}

    done = run_stage(workspace.store, stage, work)
    empty = sum(not len(item.boxes) for item in training)
    reporter.line(
        f"  train: {done['images']} images, {empty} of them empty, {model_training.length_of(done)} "
        f"→ {relative(workspace, stage.folder)}"
    )
    weights, config = done["weights_sha256"], done.get("config_sha256")
    return model_registry.register_model(
        workspace, model_id, "cycle", weights, parent=start.id, cycle=cycle.number, config_sha256=config
    )


def _unlabelled(workspace: Workspace, cycle: Cycle, training: Sequence[LabelledImage]) -> list[ImageFile]:
    """Return unlabelled images to learn from, of the pool with which the cycle began."""
    known = {item.image.id for item in training}
    known.update(pick.image_id for pick in picks_of(workspace.store, cycle.number))
    pool, settings = partial(frozen_pool, workspace, cycle.number), settings_of(workspace, cycle)
    return sample_unlabelled(workspace, settings, pool, known, len(training))


def settings_of(workspace: Workspace, cycle: Cycle) -> TrainConfig:
    """Return the settings of the training of a cycle."""
    return workspace.config.pretrain if cycle.model.origin == INITIAL else workspace.config.train


def evaluate(workspace: Workspace, candidate: Model | None, reporter: Reporter) -> PromotionResult | None:
    """Evaluate the candidate and the current model, and decide on the promotion.

    A rollback during the cycle may have changed the current model.
    """
    if candidate is None:
        return None
    current = model_registry.current_model(workspace) if model_registry.has_model(workspace) else None
    result = evaluate_candidate(workspace, candidate, current, reporter)
    after, before = result.candidate, result.current
    ap, ap50 = (f"{before.ap:.3f} → ", f"{before.ap50:.3f} → ") if before else ("", "")
    reporter.line(
        f"  evaluate: AP {ap}{after.ap:.3f}, AP50 {ap50}{after.ap50:.3f} on {after.images} validation images"
    )
    if (masks := mask_summary(after, before)) is not None:
        reporter.line(f"  evaluate: {masks}")
    return result


def decide(
    workspace: Workspace,
    cycle: Cycle,
    candidate: Model | None,
    result: PromotionResult | None,
    reporter: Reporter,
) -> str:
    """Promote the candidate or keep the current model, as `evaluate` decided. End the cycle."""
    promoted, reason = False, "nothing to learn from: no label has a box"
    if result is not None:
        promoted, reason = result.decision.promote, result.decision.reason
    with workspace.store.transaction():
        if promoted and candidate is not None:
            model_registry.promote(workspace, candidate, reason)
        outcome = "promoted" if promoted else "kept"
        finish_cycle(workspace.store, cycle.number, outcome, reason, now())
    current = model_registry.current_model(workspace).id if model_registry.has_model(workspace) else "none"
    reporter.line(
        f"  {'promoted' if promoted else 'kept the old model'}: {reason} (current model: {current})"
    )
    return reason
