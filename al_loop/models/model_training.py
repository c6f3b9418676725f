"""Train and import models of the workspace. torch is imported inside the functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from al_loop.core.console import Progress
from al_loop.core.files import file_sha256
from al_loop.core.training_config import TrainConfig
from al_loop.core.urls import masked
from al_loop.models.checkpoint_cache import fetch
from al_loop.models.starting_point import fit_mask_head, named_config, start_weights
from al_loop.state.model_registry import WEIGHTS, Model
from al_loop.state.stages import output_of
from al_loop.state.workspace import Workspace
from al_loop.structures.images import LabelledImage, total_outlines

if TYPE_CHECKING:
    from al_loop.detector.self_training.settings import UnlabelledPart


@dataclass(frozen=True)
class TrainingImages:
    """Images to learn from, to validate on, and rendered ones for `replay` and `copy_paste`.

    unlabelled: unlabelled images that it also learns from.
    rendered_share: share of rendered images in the first and in the last step. None: as `replay` says.
    """

    training: Sequence[LabelledImage]
    validation: Sequence[LabelledImage]
    rendered: Sequence[LabelledImage] = ()
    unlabelled: UnlabelledPart | None = None
    rendered_share: tuple[float, float] | None = None


def check_gpus(workspace: Workspace, settings: TrainConfig) -> None:
    """Raise ConfigError if the training cannot be divided among the configured number of GPUs."""
    if workspace.config.gpus > 1:
        from al_loop.detector.device import cores
        from al_loop.detector.training.launcher import check_gpus as check

        check(workspace.config.gpus, workspace.config.device, settings.batch_size, cores())


def train_model(
    workspace: Workspace,
    folder: Path,
    start: Model | None,
    images: TrainingImages,
    settings: TrainConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Train a model. Write weights, config and the log to `folder`. Return the output of the stage.

    settings: a table of al-loop.toml.
    start: model to fine-tune. None: start from the config and the weights that the settings name.
    """
    from al_loop.detector.checkpoint import write_weights
    from al_loop.detector.config.stored_config import write_config
    from al_loop.detector.device import choose_device, cores, default_workers
    from al_loop.detector.training.job import RunSettings, TrainingJob
    from al_loop.detector.training.launcher import train_in_processes
    from al_loop.detector.training.optimiser import training_precision
    from al_loop.detector.training.resume import discard_work_files
    from al_loop.detector.training.train import train

    gpus = workspace.config.gpus
    check_gpus(workspace, settings)
    masks = workspace.config.outlined and total_outlines([*images.training, *images.rendered]) > 0
    config, weights, notes = _start(workspace, start, settings.seed, progress, masks=masks)
    device = choose_device(workspace.config.device)
    lr = float(config.optim_wrapper.optimizer.lr)
    run = RunSettings(
        settings,
        device,
        lr=settings.lr or (lr if start is None else float(config.get("fine_tune_lr", lr / 10))),
        workers=default_workers(cores() // gpus) if settings.workers is None else settings.workers,
        precision=training_precision(settings.precision, device),
        metric=workspace.config.key_metric,
    )
    job = TrainingJob(
        config,
        weights,
        images.training,
        images.validation,
        run,
        folder / "training",
        rendered=images.rendered,
        unlabelled=images.unlabelled,
        rendered_share=images.rendered_share,
    )
    trained = train(job, progress) if gpus == 1 else train_in_processes(job, gpus, cores() // gpus, progress)
    write_weights(folder / WEIGHTS, trained.weights, config.classes)
    discard_work_files(folder / "training")
    return {
        "config_sha256": write_config(folder, config),
        "weights_sha256": file_sha256(folder / WEIGHTS),
        "steps": trained.steps,
        "validations": trained.validations,
        "class_quality": trained.quality,
        "images": len(images.training),
        "notes": notes,
        "precision": run.precision,  # "auto" depends on the machine
    }


def write_initial(workspace: Workspace, folder: Path, seed: int, progress: Progress) -> dict[str, Any]:
    """Write the model that a training without a start begins with. Return the output of the stage."""
    from al_loop.detector.checkpoint import write_weights
    from al_loop.detector.config.model_config import build_model
    from al_loop.detector.config.stored_config import write_config

    config, weights, notes = _start(workspace, None, seed, progress, masks=False)
    config.untrained = True
    weights = build_model(config, seed).state_dict() if weights is None else weights
    write_weights(folder / WEIGHTS, weights, config.classes)
    return {
        "config_sha256": write_config(folder, config),
        "weights_sha256": file_sha256(folder / WEIGHTS),
        "notes": notes,
    }


def _start(
    workspace: Workspace, start: Model | None, seed: int, progress: Progress, *, masks: bool
) -> tuple[Any, Any, list[str]]:
    """Return config, initial weights and notes of a training.

    masks: add a mask head to a model without one. It would predict noise if it had nothing to learn from.
    """
    if start is not None:
        return _start_from(workspace, start, seed, masks=masks)
    config = named_config(workspace, masks=masks)
    weights, notes = start_weights(workspace, config, seed, progress)
    config.notes = [*config.notes, *notes]
    return config, weights, config.notes


def _start_from(workspace: Workspace, start: Model, seed: int, *, masks: bool) -> tuple[Any, Any, list[str]]:
    """Return config and weights of a model, with a mask head as the settings want it, and notes."""
    from al_loop.detector.checkpoint import read_weights
    from al_loop.detector.config.mask_head import add_mask_head, drop_mask_head, has_mask_head
    from al_loop.detector.config.model_config import build_model
    from al_loop.detector.config.stored_config import read_config

    config = read_config(start.folder, start.config_sha256, trusted=workspace.trusted)
    weights = read_weights(start.weights, start.weights_sha256)
    before = has_mask_head(config.model)
    if masks:
        add_mask_head(config.model)
    elif not workspace.config.outlined:
        drop_mask_head(config.model)
    if has_mask_head(config.model) != before:
        weights, notes = fit_mask_head(weights, build_model(config, seed).state_dict(), start.id)
        config.notes = [*config.get("notes", ()), *notes]
    return config, weights, list(config.get("notes", ()))


def import_model(
    workspace: Workspace,
    folder: Path,
    checkpoint: str,
    config_name: str | None,
    progress: Progress,
    *,
    classes_as_is: bool = False,
) -> dict[str, Any]:
    """Check a checkpoint against its config and the workspace's classes, and copy it to `folder`.

    config_name: config given on the command line. None: the config that the settings name.
    classes_as_is: match classes by position. Ignore their names in the checkpoint.
    """
    from al_loop.detector.checkpoint import load_into, predicts_masks, read_checkpoint, write_weights
    from al_loop.detector.class_order import reorder_classes
    from al_loop.detector.config.mask_head import add_mask_head, has_mask_head
    from al_loop.detector.config.model_config import build_model
    from al_loop.detector.config.stored_config import write_config

    classes = workspace.config.classes
    config = named_config(workspace, config_name, masks=False)
    content = read_checkpoint(fetch(checkpoint, None, progress))
    if workspace.config.outlined and predicts_masks(content.weights):
        add_mask_head(config.model)
    names = content.classes or config.get("named_classes", ())
    weights, notes = reorder_classes(content.weights, names, classes, checkpoint, as_is=classes_as_is)
    network = build_model(config)
    if not has_mask_head(config.model):
        weights, masks = fit_mask_head(weights, network.state_dict(), checkpoint)
        notes = [*notes, *masks]
    load_into(network, weights, checkpoint)
    config.notes = [*config.notes, *content.notes, *notes]
    write_weights(folder / WEIGHTS, weights, classes)
    return {
        "config_sha256": write_config(folder, config),
        "weights_sha256": file_sha256(folder / WEIGHTS),
        "source": masked(checkpoint),
        "notes": config.notes,
    }


def training_notes(workspace: Workspace, model: Model) -> dict[str, Any]:
    """Return the output of the stage that made a model: steps, images, notes. Empty if it is damaged."""
    output = _output(workspace, model)
    notes = output.get("notes", [])
    return output if isinstance(notes, list) and all(isinstance(note, str) for note in notes) else {}


def length_of(output: Mapping[str, Any]) -> str:
    """Return how long a training was, from the output of its stage. al-loop 0.1 counted epochs."""
    return f"{output['steps']} steps" if "steps" in output else f"{output['epochs']} epochs"


def class_quality(workspace: Workspace, model: Model) -> Sequence[float] | None:
    """Return the quality of each class at the end of a model's training. None if it is unknown."""
    quality: Sequence[float] | None = _output(workspace, model).get("class_quality")
    return quality


def _output(workspace: Workspace, model: Model) -> dict[str, Any]:
    stage = "train" if model.origin == "cycle" else model.origin
    return output_of(workspace.store, model.id, stage, model.folder)
