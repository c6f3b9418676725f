"""Evaluation of a benchmark's models on all its sets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from al_loop.benchmark.run.context import BenchmarkContext
from al_loop.benchmark.spec.datasets import VALIDATION
from al_loop.core.console import Reporter
from al_loop.evaluation import detection_counts
from al_loop.models import evaluation
from al_loop.state.model_registry import Model
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.images import LabelledImage


def evaluate_model(
    context: BenchmarkContext, model: Model, folder: Path, reporter: Reporter
) -> dict[str, Any]:
    """Return metrics and detection counts on every set, by name; predictions stay in the folder."""
    metrics = {}
    for name, images in context.datasets.evaluated.items():
        shards = _shards(folder, name)
        with reporter.progress(f"{model.id}: {name}") as progress:
            scores = evaluation.evaluate_labelled(context.workspace, model, images, shards, progress)
        counts = detection_counts.count(images, ShardStore(shards).load().boxes_by_image())
        rates = {"precision": counts.precision, "recall": counts.recall}
        metrics[name] = {**asdict(scores), **asdict(counts), **rates}
    return metrics


def count_r2(validation: list[LabelledImage], folder: Path) -> float | None:
    """Return count R² on the validation set, of the model evaluated in a folder."""
    predicted = ShardStore(_shards(folder, VALIDATION)).load().boxes_by_image()
    return detection_counts.count_r2(validation, predicted)


def _shards(folder: Path, name: str) -> Path:
    return folder / "predictions" / name
