"""Trainings with a fixed number of steps: all runs of a benchmark cost the same."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from al_loop.models.model_training import TrainingImages
from al_loop.models.self_training import Pool, train_with_pool
from al_loop.state.model_registry import WEIGHTS, Model
from al_loop.state.stages import Output
from al_loop.structures.images import ImageFile, LabelledImage
from al_loop.structures.metrics import VALIDATION

#: What the output of a run keeps of a training.
_OUTPUT = ("weights_sha256", "config_sha256", "precision", "class_quality", "validations", "self_training")


@dataclass(frozen=True)
class Training:
    """One training.

    initial: has the checkpoint of a training without a model.
    model: to begin with; None for random weights or the checkpoint.
    validations: largest number; with one, the weights of the last step are the result.
    rendered: images for `replay` and `copy_paste`.
    rendered_share: see `TrainingImages`.
    changes: settings in place of those of the table [pretrain], or with a model [train].
    unlabelled: images to learn from if `self_training` in the settings says so.
    """

    initial: InitialModel
    model: Model | None
    images: Sequence[LabelledImage]
    steps: int
    seed: int
    validations: int = 1
    rendered: Sequence[LabelledImage] = ()
    rendered_share: tuple[float, float] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    unlabelled: Sequence[ImageFile] = ()


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


class _RunReporter:
    """Reports a training under the name of its run. timed: the steps of each training of the run."""

    def __init__(self, reporter: Reporter, name: str, steps: int) -> None:
        self.line = reporter.line
        self._reporter, self._name, self._steps = reporter, name, steps
        self.timed = list[_TimedSteps]()

    @contextmanager
    def progress(self, description: str) -> Iterator[Progress]:
        """Show the progress of a training."""
        with self._reporter.progress(f"{self._name}: {description}") as progress:
            self.timed.append(_TimedSteps(progress, self._steps))
            yield self.timed[-1]


def train(
    context: BenchmarkContext, training: Training, folder: Path, name: str, reporter: Reporter
) -> Output:
    """Train into a folder and return what identifies the model, with the seconds spent.

    A self-trained model is compared with the supervised one on the validation set, on which it is evaluated.
    """
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
    began, validation = time.monotonic(), context.datasets.validation
    images = training.unlabelled
    pool = Pool(images, len(training.images), {VALIDATION: validation}) if images else None
    run_reporter = _RunReporter(reporter, name, training.steps)
    output = train_with_pool(
        training.initial.training_workspace(context.workspace),
        folder,
        training.model,
        TrainingImages(
            training.images, validation, training.rendered, rendered_share=training.rendered_share
        ),
        pool,
        settings,
        run_reporter,
    )
    identity = {key: output[key] for key in _OUTPUT if key in output}
    seconds = {
        "train": time.monotonic() - began,
        "image": run_reporter.timed[0].median_s / settings.batch_size,
    }
    return {**identity, "seconds": seconds}


def trained_model(name: str, folder: Path, output: Output) -> Model:
    """Return the model that a run has left in a folder."""
    weights, config = output["weights_sha256"], output.get("config_sha256")
    return Model(name, None, "cycle", None, weights, "", config_sha256=config, folder=folder)


def delete_weights(context: BenchmarkContext, name: str) -> None:
    """Delete the weights of a run that no other run begins with."""
    (context.folder_of(name) / WEIGHTS).unlink(missing_ok=True)
