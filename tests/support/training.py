"""Training jobs of the small model on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from al_loop.core.training_config import TrainConfig
from al_loop.detector.training.job import RunSettings, TrainingJob
from al_loop.structures.images import LabelledImage
from al_loop.structures.metrics import MetricName

Sets = tuple[Sequence[LabelledImage], Sequence[LabelledImage]]


def run_settings(
    *,
    lr: float = 1e-3,
    workers: int = 0,
    precision: str = "fp32",
    metric: MetricName = "box_ap",
    **table: Any,
) -> RunSettings:
    """Two steps of batches of 8; table: other settings of a training."""
    settings = TrainConfig(**{"steps": 2, "val_every": 1, "batch_size": 8, "patience": 9, **table})
    return RunSettings(settings, "cpu", lr, workers, precision, metric)


def training_job(config: Any, sets: Sets, folder: Path, start: Any = None, **settings: Any) -> TrainingJob:
    """A job on a training and a validation set; settings: of `run_settings`."""
    return TrainingJob(config, start, *sets, run_settings(**settings), folder)


def stop_after(step: int) -> Any:
    """A progress callback that interrupts the training after a step."""

    def interrupt(done: int, total: int, text: str) -> None:
        if done == step:
            raise KeyboardInterrupt

    return interrupt
