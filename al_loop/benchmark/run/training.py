"""Trainings with a fixed number of steps: all runs of a benchmark cost the same."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from al_loop.benchmark.run.context import BenchmarkContext
from al_loop.benchmark.spec.initial_models import InitialModel
from al_loop.core.console import Progress, Reporter
from al_loop.models import model_training
from al_loop.models.model_training import TrainingImages
from al_loop.state.model_registry import WEIGHTS, Model
from al_loop.state.stages import Output
from al_loop.structures.images import LabelledImage

#: What the output of a run keeps of a training.
_OUTPUT = ("weights_sha256", "config_sha256", "precision", "class_quality", "validations")


@dataclass(frozen=True)
class Training:
    """One training.

    initial: has the checkpoint of a training without a model.
    model: to begin with; None for random weights or the checkpoint.
    validations: largest number; with one, the weights of the last step are the result.
    rendered: images for `replay` and `copy_paste`.
    changes: settings in place of those of the table [pretrain], or with a model [train].
    """

    initial: InitialModel
    model: Model | None
    images: Sequence[LabelledImage]
    steps: int
    seed: int
    validations: int = 1
    rendered: Sequence[LabelledImage] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)


class _TimedSteps:
    """Passes progress on, and measures the seconds of a step."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self._progress, self._steps, self._times = progress, steps, list[float]()

    def __call__(self, done: int, total: int, text: str = "") -> None:
        if total == self._steps:  # else of a download
            self._times.append(time.monotonic())
        self._progress(done, total, text)

    @property
    def median_s(self) -> float:
        """Median seconds of a step: validations in between do not count. 0 without two steps."""
        return median([b - a for a, b in pairwise(self._times)] or [0.0])


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
        **training.changes,
    )
    began = time.monotonic()
    with reporter.progress(f"{name}: train") as progress:
        timed = _TimedSteps(progress, training.steps)
        output = model_training.train_model(
            training.initial.training_workspace(context.workspace),
            folder,
            training.model,
            TrainingImages(training.images, context.datasets.validation, training.rendered),
            settings,
            timed,
        )
    identity = {key: output[key] for key in _OUTPUT if key in output}
    seconds = {"train": time.monotonic() - began, "image": timed.median_s / settings.batch_size}
    return {**identity, "seconds": seconds}


def trained_model(name: str, folder: Path, output: Output) -> Model:
    """Return the model that a run has left in a folder."""
    weights, config = output["weights_sha256"], output.get("config_sha256")
    return Model(name, None, "cycle", None, weights, "", config_sha256=config, folder=folder)


def delete_weights(context: BenchmarkContext, name: str) -> None:
    """Delete the weights of a run that no other run begins with."""
    (context.folder_of(name) / WEIGHTS).unlink(missing_ok=True)
