"""Cells of a grid of trainings: runs that do not depend on each other, and models that several begin with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from al_loop.benchmark.run.context import BenchmarkContext
from al_loop.benchmark.run.training import trained_model
from al_loop.benchmark.run.trial import Row, Trial
from al_loop.core.errors import TrainingError
from al_loop.state.model_registry import WEIGHTS, Model
from al_loop.state.stages import Output
from al_loop.structures.images import LabelledImage


class CellRun(Protocol):
    """One cell. real: number of photographs."""

    @property
    def real(self) -> int:
        """Number of photographs."""


C = TypeVar("C", bound=CellRun)


def run_cells(trial: Trial[C], work: Callable[[C], Output]) -> Iterator[Row[C]]:
    """Yield the result of each run; the runs after a failed one do not depend on it.

    work: returns fields of `Row`. Further ones are not used.
    """
    for run in trial.runs:
        try:
            output = work(run)
        except TrainingError as error:
            yield Row(run, labels=run.real, failure=str(error))
        else:
            results = {k: output[k] for k in ("boxes", "metrics", "seconds", "details") if k in output}
            yield Row(run, labels=run.real, **results)


def shared_model(
    context: BenchmarkContext, name: str, work: Callable[[Path], Output], **inputs: object
) -> tuple[Model, float]:
    """Return a model that several runs begin with, and the seconds of its training; train it if need be.

    work: trains into a folder, and returns the output of `train`.
    inputs: of its stage.
    """
    stored = context.folder_of(name)
    if not (stored / WEIGHTS).is_file():
        shutil.rmtree(stored, ignore_errors=True)  # deleted when a smaller grid was done
    output = context.run_stage(name, work, **inputs)
    return trained_model(name, stored, output), output["seconds"]["train"]


def first_images(images: Sequence[LabelledImage], count: int, seed: int) -> list[LabelledImage]:
    """Return images in an order that the seed alone decides: fewer are always among more."""
    order = np.random.default_rng(np.random.SeedSequence([seed, len(images)])).permutation(len(images))
    return [images[i] for i in order[:count]]
