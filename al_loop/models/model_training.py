"""Train and import models of the workspace. torch is imported inside the functions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from al_loop.core.config import TrainConfig
from al_loop.core.console import Progress
from al_loop.core.files import file_sha256
from al_loop.core.urls import masked
from al_loop.models.checkpoint_cache import fetch
from al_loop.models.starting_point import named_config, start_weights
from al_loop.state.model_registry import WEIGHTS, Model
from al_loop.state.stages import output_of
from al_loop.state.workspace import Workspace
from al_loop.structures.images import LabelledImage

if TYPE_CHECKING:
    pass


def check_gpus(workspace: Workspace, settings: TrainConfig) -> None:
    """Refuse with ConfigError, before anything is computed, a training that `gpus` GPUs cannot share."""
    if workspace.config.gpus > 1:
        from al_loop.detector.cpu import cores
        from al_loop.detector.training.launcher import check_gpus as check

        check(workspace.config.gpus, workspace.config.device, settings.batch_size, cores())


def train_model(
    workspace: Workspace,
    folder: Path,
    start: Model | None,
    training: Sequence[LabelledImage],
    validation: Sequence[LabelledImage],
    settings: TrainConfig,
    progress: Progress,
    steps: int | None = None,
    *,
    frozen: bool = False,
) -> dict[str, Any]:
    """Train into `folder`: weights, resolved config, and the Runner's log below training/.

    steps: in all, the last of the settings' epochs is cut short for it; None: every epoch is whole.
    frozen: the backbone stays as it is.
    """
    from al_loop.detector.checkpoint import read_weights, write_weights
    from al_loop.detector.config.stored_config import read_config, write_config
    from al_loop.detector.cpu import cores, default_workers
    from al_loop.detector.device import choose_device
    from al_loop.detector.precision import precision_of
    from al_loop.detector.training.job import TrainingJob
    from al_loop.detector.training.launcher import train_in_processes
    from al_loop.detector.training.optimiser import training_precision
    from al_loop.detector.training.settings import RunSettings
    from al_loop.detector.training.train import discard_work_files, train

    gpus = workspace.config.gpus
    check_gpus(workspace, settings)
    if start is None:
        config = named_config(workspace)
        weights, notes = start_weights(workspace, config)
        config.notes = notes = [*config.notes, *notes]
    else:
        config = read_config(start.folder, start.config_sha256, trusted=workspace.trusted)
        weights, notes = read_weights(start.weights, start.weights_sha256), list(config.get("notes", ()))
    if frozen:
        config.model.backbone.update(frozen_stages=config.model.backbone.get("num_stages", 4), norm_eval=True)
    device = choose_device(workspace.config.device)
    config_lr = float(config.optim_wrapper.optimizer.lr)
    fine_tune_lr = float(config.get("fine_tune_lr", config_lr / 10))
    run = RunSettings(
        settings,
        device,
        lr=settings.lr or (config_lr if start is None else fine_tune_lr),
        workers=default_workers(cores() // gpus) if settings.workers is None else settings.workers,
        precision=precision_of(settings.precision, device),
        steps=steps,
    )
    job = TrainingJob(config, weights, training, validation, run, folder / "training")
    trained = train(job, progress) if gpus == 1 else train_in_processes(job, gpus, cores() // gpus, progress)
    write_weights(folder / WEIGHTS, trained.weights, config.classes)
    discard_work_files(folder / "training")
    return {
        "config_sha256": write_config(folder, config),
        "weights_sha256": file_sha256(folder / WEIGHTS),
        "epochs": trained.epochs,
        "validations": trained.validations,
        "class_quality": trained.quality,
        "images": len(training),
        "notes": notes,
        "precision": training_precision(run.precision, device),  # "auto" depends on the machine
    }


def import_model(
    workspace: Workspace,
    folder: Path,
    checkpoint: str,
    config_name: str | None,
    *,
    classes_as_is: bool = False,
) -> dict[str, Any]:
    """Check a checkpoint against its config and the workspace's classes, and copy it to `folder`.

    config_name: of a config that the user has named for it; None: that of the settings.  classes_as_is: the checkpoint's
    classes are the workspace's by their place, whatever it calls them.
    """
    from al_loop.detector.checkpoint import load_into, read_checkpoint, write_weights
    from al_loop.detector.class_order import in_order
    from al_loop.detector.config.model_config import build_model
    from al_loop.detector.config.stored_config import write_config

    classes = workspace.config.classes
    config = named_config(workspace, config_name)
    found = read_checkpoint(fetch(checkpoint, None))
    named = found.classes or config.get("named_classes", ())
    weights, notes = in_order(found.weights, named, classes, checkpoint, as_is=classes_as_is)
    load_into(build_model(config), weights, checkpoint)
    config.notes = [*config.notes, *found.notes, *notes]
    write_weights(folder / WEIGHTS, weights, classes)
    return {
        "config_sha256": write_config(folder, config),
        "weights_sha256": file_sha256(folder / WEIGHTS),
        "source": masked(checkpoint),
        "notes": config.notes,
    }


def training_notes(workspace: Workspace, model: Model) -> dict[str, Any]:
    """Return the output of the stage that made a model: epochs, images, notes; empty where it is damaged."""
    output = output_of(workspace.store, model.id, _stage_of(model), model.folder)
    notes = output.get("notes", [])
    return output if isinstance(notes, list) and all(isinstance(note, str) for note in notes) else {}


def class_quality(workspace: Workspace, model: Model) -> Sequence[float] | None:
    """Return how well the training of a model has learned each class; None where that was not noted."""
    quality: Sequence[float] | None = output_of(
        workspace.store, model.id, _stage_of(model), model.folder
    ).get("class_quality")
    return quality


def _stage_of(model: Model) -> str:
    return "train" if model.origin == "cycle" else model.origin
