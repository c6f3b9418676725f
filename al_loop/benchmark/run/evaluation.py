"""Evaluation of a benchmark's models on all its sets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from al_loop.benchmark.run.context import BenchmarkContext
from al_loop.benchmark.spec.datasets import VALIDATION
from al_loop.core.console import Reporter
from al_loop.evaluation import detection_counts
from al_loop.evaluation.model_quality import UNKNOWN, ModelQuality, needs_quality, quality_for
from al_loop.models import evaluation
from al_loop.state.model_registry import Model
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.metrics import Metrics, metrics_to_plain
from strategies import Strategy

#: Columns of results that only segmentation workspaces have.
MASK_COLUMNS = ("mask_ap", "mask_ap50", "mask_ap75", "mean_iou", "mean_dice")


def evaluate_model(
    context: BenchmarkContext, model: Model, folder: Path, reporter: Reporter
) -> dict[str, Any]:
    """Return metrics and detection counts on every set, by name; predictions stay in the folder.

    The metrics of masks are also there under the names of columns.
    """
    metrics = {}
    for name, images in context.datasets.evaluated.items():
        shards = _shards(folder, name)
        with reporter.progress(f"{model.id}: {name}") as progress:
            scores = evaluation.evaluate_labelled(context.workspace, model, images, shards, progress)
        predicted = ShardStore(shards).load().boxes_by_image()
        counts = detection_counts.count(images, predicted, context.spec.rule)
        rates = {"precision": counts.precision, "recall": counts.recall}
        metrics[name] = {**metrics_to_plain(scores), **_mask_columns(scores), **asdict(counts), **rates}
    return metrics


def _mask_columns(metrics: Metrics) -> dict[str, float]:
    """Return the metrics of masks by `MASK_COLUMNS`. Empty without masks."""
    masks = metrics.masks
    if masks is None:
        return {}
    values = masks.ap, masks.ap50, masks.ap75, masks.mean_iou.value, masks.mean_dice.value
    return dict(zip(MASK_COLUMNS, values, strict=True))


def validation_quality(context: BenchmarkContext, strategy: Strategy, folder: Path) -> ModelQuality:
    """Return what a strategy reads of the model that was evaluated in a folder, on the validation set."""
    if not needs_quality(strategy):
        return UNKNOWN
    predicted = ShardStore(_shards(folder, VALIDATION)).load().boxes_by_image()
    return quality_for(strategy, context.datasets.validation, predicted, context.workspace.config.classes)


def _shards(folder: Path, name: str) -> Path:
    return folder / "predictions" / name
