"""Trials, their runs, and the results of the runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

#: A `CycleRun`, `MixRun` or `TransferRun`: a training and its evaluation. `name`: its folder in `runs/`.
R = TypeVar("R")


@dataclass(frozen=True)
class Row(Generic[R]):
    """The result of one run: a point of a learning curve, or a cell of a grid.

    labels, boxes: number of labelled images in the training, and their boxes.
    picked: ids of the images that the run added.
    at_random: whether they were picked at random, without a model.
    metrics: set -> fields of `Metrics` and `Counts`, with precision and recall.
    seconds: of "select" and "train", and of an "image" in training.
    details: further results, such as the AP of each validation.
    failure: why the training failed; then there are no metrics.
    """

    run: R
    labels: int = 0
    boxes: int = 0
    picked: tuple[str, ...] = ()
    at_random: bool = False
    metrics: Mapping[str, Any] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""

    @property
    def ap(self) -> float:
        """AP on the validation set, of a run that did not fail."""
        assert self.metrics is not None  # the callers leave failed runs out
        return float(self.metrics["validation"]["ap"])


@dataclass(frozen=True)
class Trial(Generic[R]):
    """Runs that one process does in order, for one initial model and seed.

    shared: runs in place of the first ones, which other trials share.
    """

    name: str
    runs: tuple[R, ...]
    shared: tuple[R, ...] = ()


@dataclass(frozen=True)
class TrialResult:
    """A trial that an executor ran.

    number: its index in the trials given to the executor.
    lines: reported lines.
    work_s: see `OverallProgress`.
    """

    number: int
    rows: list[Row[Any]]
    lines: list[str]
    work_s: list[float]


@dataclass(frozen=True)
class Executor:
    """Runs trials in other processes.

    parallel: trials at a time.
    run: yields the results of trials as they end, in any order.
    """

    parallel: int
    run: Callable[[Sequence[Trial[Any]]], Iterator[TrialResult]]
