"""The first model: trained on rendered images, or imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from al_loop.core.console import Reporter
from al_loop.core.frozen_settings import hashed
from al_loop.images import repository
from al_loop.images.object_cache import check_unchanged
from al_loop.images.training_sets import labelled_files, synthetic_images
from al_loop.models import model_training, starting_point
from al_loop.models.promotion import check_sets, evaluate_candidate
from al_loop.state import model_registry
from al_loop.state.database.facts import read_fact, write_fact
from al_loop.state.database.model_table import count_of_origin
from al_loop.state.model_registry import Model
from al_loop.state.stages import Output, Stage, finished, run_stage
from al_loop.state.workspace import Workspace
from al_loop.structures.metrics import VALIDATION


def pretrain(workspace: Workspace, reporter: Reporter, data: Sequence[Path] = ()) -> Model:
    """Train a model; it becomes current if there is none, or if it is not worse.

    data: COCO files of labelled images to learn from; none takes all rendered sets of the workspace.
    """
    check_sets(workspace)
    model_training.check_gpus(workspace, workspace.config.pretrain)
    images = labelled_files(workspace, data, reporter) if data else synthetic_images(workspace, reporter)
    validation = repository.validation(workspace)
    inputs = {
        "images": repository.labels_hash(images),
        "validation": repository.labels_hash(validation),
        "settings": hashed(workspace.config, "pretrain"),
        "model": starting_point.model_inputs(workspace),
    }

    def work(folder: Path) -> Output:
        check_unchanged((item.image for item in validation), VALIDATION)
        with reporter.progress("pretrain") as progress:
            settings = workspace.config.pretrain
            return model_training.train_model(workspace, folder, None, images, validation, settings, progress)

    model, training = _make(workspace, "pretrain", inputs, work)
    reporter.line(f"pretrained {model.id}: {training['images']} images, {training['epochs']} epochs")
    _warn(training, reporter)
    return _judge(workspace, model, reporter)


def import_checkpoint(
    workspace: Workspace,
    checkpoint: str,
    config: str | None,
    reporter: Reporter,
    *,
    classes_as_is: bool = False,
) -> Model:
    """Take a trained detector into the workspace; ModelError says what does not fit.

    classes_as_is: its classes are the workspace's by their place, whatever it calls them.
    """
    check_sets(workspace)
    inputs = {
        "checkpoint": starting_point.checkpoint_identity(checkpoint),
        "config": config,
        "model": starting_point.model_inputs(workspace),
        **({"own": starting_point.config_identity(config)} if config else {}),
        **({"classes_as_is": True} if classes_as_is else {}),
    }

    def work(folder: Path) -> Output:
        return model_training.import_model(workspace, folder, checkpoint, config, classes_as_is=classes_as_is)

    model, imported = _make(workspace, "import", inputs, work)
    reporter.line(f"imported {model.id} from {checkpoint}")
    _warn(imported, reporter)
    return _judge(workspace, model, reporter)


def _warn(output: Output, reporter: Reporter) -> None:
    """Say what of a config and a checkpoint is not as somebody may expect."""
    for note in output.get("notes", ()):
        reporter.line(f"  warning: {note}")


def _make(
    workspace: Workspace, origin: str, inputs: Output, work: Callable[[Path], Output]
) -> tuple[Model, Output]:
    """Run the stage that makes a model, unless the newest of that origin was made from the same inputs."""
    made = count_of_origin(workspace.store, origin)
    stages = [
        Stage(job=f"{origin}-{n}", name=origin, folder=workspace.model_dir(f"{origin}-{n}"), inputs=inputs)
        for n in (made, made + 1)
    ]
    same = made > 0 and finished(workspace.store, stages[0]) is not None
    stage = stages[0] if same else stages[1]
    done = run_stage(workspace.store, stage, work)
    model = model_registry.register_model(
        workspace,
        stage.job,
        origin,
        done["weights_sha256"],
        parent=None,
        cycle=None,
        config_sha256=done.get("config_sha256"),
    )
    return model, done


def _judge(workspace: Workspace, model: Model, reporter: Reporter) -> Model:
    """Evaluate a model and make it current unless a better one is; decided once, however often it is asked."""
    judged = f"judged {model.id}"
    if read_fact(workspace.store, judged) is not None:
        reporter.line(
            f"current model: {model_registry.current_model(workspace).id}; {model.id} was made before"
        )
        return model
    current = model_registry.current_model(workspace) if model_registry.has_model(workspace) else None
    judged_now = evaluate_candidate(workspace, model, current, reporter)
    metrics, decision = judged_now.candidate, judged_now.decision
    with workspace.store.transaction():
        if decision.promote:
            model_registry.promote(workspace, model, decision.reason)
        write_fact(workspace.store, judged, "yes")
    reporter.line(
        f"evaluated {model.id}: AP {metrics.ap:.3f}, AP50 {metrics.ap50:.3f} on {metrics.images} validation images"
    )
    reporter.line(f"current model: {model_registry.current_model(workspace).id} ({decision.reason})")
    return model
