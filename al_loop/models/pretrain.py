"""Make a model outside a cycle: train it on labelled images, import a checkpoint, or leave it untrained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from al_loop.core.console import Reporter
from al_loop.core.frozen_settings import hashed
from al_loop.images import repository
from al_loop.images.object_cache import check_unchanged
from al_loop.images.synthetic import without_mirroring
from al_loop.images.training_sets import pretraining_set, rendered_beside, without_damaged
from al_loop.models import model_training, self_training, starting_point
from al_loop.models.model_training import TrainingImages
from al_loop.models.promotion import check_sets, evaluate_candidate, promotion_sets
from al_loop.models.self_training import Pool, sample_unlabelled, train_with_pool
from al_loop.state import model_registry
from al_loop.state.database.facts import read_fact, write_fact
from al_loop.state.database.label_table import set_size
from al_loop.state.database.model_table import count_of_origin
from al_loop.state.model_registry import INITIAL, Model
from al_loop.state.stages import Output, Stage, finished, run_stage
from al_loop.state.workspace import Workspace
from al_loop.structures.images import total_boxes
from al_loop.structures.metrics import VALIDATION, mask_summary
from strategies import Ids


def pretrain(workspace: Workspace, reporter: Reporter, data: Sequence[Path] = ()) -> Model:
    """Train a model. Promote it if there is no current model, or if it is not worse than the current one.

    It learns from the labelled images of the pool, and from all rendered images.
    data: COCO files of labelled images that replace the rendered ones. No cycle learns from them.
    """
    check_sets(workspace)
    workspace = without_mirroring(workspace, reporter)
    settings = workspace.config.pretrain
    model_training.check_gpus(workspace, settings)
    training = pretraining_set(workspace, data, reporter)
    if data:
        reporter.line(
            "note: cycles do not learn from the images of --data. Photographs that they should learn from: "
            "al-loop pool add-labelled COCO.json"
        )
    rendered = rendered_beside(workspace, settings, reporter) if data else []
    known = {item.image.id for item in training.images}
    rendered = [item for item in rendered if item.image.id not in known]
    validation = repository.validation(workspace)
    unlabelled = sample_unlabelled(
        workspace,
        settings,
        lambda: Ids.of(repository.unlabelled_ids(workspace)),
        (),
        len(training.images),
    )
    outlined = workspace.config.outlined
    labels_hash = partial(repository.labels_hash, outlines=outlined)
    inputs = {
        "images": labels_hash(training.images),
        "validation": labels_hash(validation),
        "settings": hashed(workspace.config, "pretrain"),
        "model": starting_point.model_inputs(workspace),
        **({"rendered": labels_hash(rendered)} if rendered else {}),
        **({"metric": workspace.config.key_metric} if outlined else {}),
        **self_training.stage_inputs(workspace, unlabelled),
    }

    def work(folder: Path) -> Output:
        check_unchanged((item.image for item in validation), VALIDATION)
        own = without_damaged(training.own, reporter)
        images = TrainingImages([*training.others, *own], validation, rendered)
        pool = Pool(unlabelled, len(own), promotion_sets(workspace))
        output = train_with_pool(workspace, folder, None, images, pool, settings, reporter)
        return output | {"labels": len(own), "label_boxes": total_boxes(own)}

    model, output = _make(workspace, "pretrain", inputs, work)
    reporter.line(f"pretrained {model.id}: {output['images']} images, {model_training.length_of(output)}")
    return _evaluate(workspace, model, output, reporter)


def import_checkpoint(
    workspace: Workspace,
    checkpoint: str,
    config: str | None,
    reporter: Reporter,
    *,
    classes_as_is: bool = False,
) -> Model:
    """Import a trained detector. As the first model it needs no validation set: a cycle has it labelled.

    classes_as_is: match classes by position. Ignore their names in the checkpoint.
    Raises ModelError with the reason if the checkpoint does not fit.
    """
    check_sets(workspace, drawn=not model_registry.has_model(workspace))
    inputs = {
        "checkpoint": starting_point.checkpoint_identity(checkpoint),
        "config": config,
        "model": starting_point.model_inputs(workspace),
        **({"own": starting_point.config_identity(config)} if config else {}),
        **({"classes_as_is": True} if classes_as_is else {}),
    }

    def work(folder: Path) -> Output:
        with reporter.progress("import") as progress:
            return model_training.import_model(
                workspace, folder, checkpoint, config, progress, classes_as_is=classes_as_is
            )

    model, output = _make(workspace, "import", inputs, work)
    reporter.line(f"imported {model.id} from {checkpoint}")
    return _evaluate(workspace, model, output, reporter)


def initial_model(workspace: Workspace, reporter: Reporter) -> Model:
    """Return the model of the settings before any training. Images are compared by its features."""
    seed = workspace.config.pretrain.seed
    inputs = {"model": starting_point.model_inputs(workspace), "seed": seed}

    def work(folder: Path) -> Output:
        with reporter.progress("initial model") as progress:
            return model_training.write_initial(workspace, folder, seed, progress)

    return _make(workspace, INITIAL, inputs, work)[0]


def _make(
    workspace: Workspace, origin: str, inputs: Output, work: Callable[[Path], Output]
) -> tuple[Model, Output]:
    """Run the stage that makes a model. Return the newest model of that origin if its inputs are the same."""
    made = count_of_origin(workspace.store, origin)
    last, stage = (
        Stage(f"{origin}-{number}", origin, workspace.model_dir(f"{origin}-{number}"), inputs)
        for number in (made, made + 1)
    )
    if made > 0 and finished(workspace.store, last) is not None:
        stage = last
    output = run_stage(workspace.store, stage, work)
    weights, config = output["weights_sha256"], output.get("config_sha256")
    model = model_registry.register_model(workspace, stage.job, origin, weights, None, None, config)
    return model, output


def _evaluate(workspace: Workspace, model: Model, output: Output, reporter: Reporter) -> Model:
    """Report the notes of a model. On the first call, evaluate it, and promote it unless it is worse."""
    for note in output.get("notes", ()):
        reporter.line(f"  warning: {note}")
    fact = f"judged {model.id}"
    current = model_registry.current_model(workspace) if model_registry.has_model(workspace) else None
    if current is not None and read_fact(workspace.store, fact) is not None:
        reporter.line(f"current model: {current.id}; {model.id} was evaluated before")
        return model
    if not set_size(workspace.store, VALIDATION):
        model_registry.promote(workspace, model, "the first model, not evaluated: no validation set yet")
        reporter.line(
            f"current model: {model.id}. The next cycle has a validation set labelled: al-loop cycle"
        )
        return model
    result = evaluate_candidate(workspace, model, current, reporter)
    metrics, decision = result.candidate, result.decision
    with workspace.store.transaction():
        if decision.promote:
            model_registry.promote(workspace, model, decision.reason)
        write_fact(workspace.store, fact, "yes")
    reporter.line(
        f"evaluated {model.id}: AP {metrics.ap:.3f}, AP50 {metrics.ap50:.3f} on {metrics.images} validation "
        "images"
    )
    if (masks := mask_summary(metrics)) is not None:
        reporter.line(f"evaluated {model.id}: {masks}")
    reporter.line(f"current model: {model_registry.current_model(workspace).id} ({decision.reason})")
    return model
