"""Trainings with a fixed number of steps: all runs of a benchmark cost the same."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import msgspec

from al_loop.benchmark.run.context import BenchmarkContext
from al_loop.benchmark.spec.initial_models import InitialModel
from al_loop.core.console import Reporter
from al_loop.models import model_training
from al_loop.models.model_training import TrainingImages
from al_loop.state.model_registry import WEIGHTS, Model
from al_loop.state.stages import Output
from al_loop.structures.images import LabelledImage

#: What the output of a run keeps of a training.
_OUTPUT = ("weights_sha256", "config_sha256", "precision", "class_quality")


@dataclass(frozen=True)
class Training:
    """One training.

    initial: has the checkpoint of a training without a model.
    model: to begin with; None for random weights or the checkpoint.
    validations: largest number; with one, the weights of the last step are the result.
    frozen: the backbone does not change.
    rendered: images for `replay` and `copy_paste`.
    """

    initial: InitialModel
    model: Model | None
    images: Sequence[LabelledImage]
    steps: int
    seed: int
    validations: int = 1
    frozen: bool = False
    rendered: Sequence[LabelledImage] = ()


def train(
    context: BenchmarkContext, training: Training, folder: Path, name: str, reporter: Reporter
) -> Output:
    """Train into a folder and return what identifies the model, with the seconds spent."""
    config = context.workspace.config
    settings = config.pretrain if training.model is None else config.train
    settings = msgspec.structs.replace(
        settings,
        steps=training.steps,
        epochs=None,
        val_every=ceil(training.steps / training.validations),
        seed=training.seed,
        freeze="encoder" if training.frozen else settings.freeze,
    )
    began = time.monotonic()
    with reporter.progress(f"{name}: train") as progress:
        output = model_training.train_model(
            training.initial.training_workspace(context.workspace),
            folder,
            training.model,
            TrainingImages(training.images, context.datasets.validation, training.rendered),
            settings,
            progress,
        )
    identity = {key: output[key] for key in _OUTPUT if key in output}
    return {**identity, "seconds": {"train": time.monotonic() - began}}


def trained_model(name: str, folder: Path, output: Output) -> Model:
    """Return the model that a run has left in a folder."""
    weights, config = output["weights_sha256"], output.get("config_sha256")
    return Model(name, None, "cycle", None, weights, "", config_sha256=config, folder=folder)


def delete_weights(context: BenchmarkContext, name: str) -> None:
    """Delete the weights of a run that no other run begins with."""
    (context.folder_of(name) / WEIGHTS).unlink(missing_ok=True)
