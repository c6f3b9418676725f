"""Compute the metrics of masks in a manifest again, from the stored predictions and labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from al_loop.core.errors import AlLoopError
from al_loop.core.frozen_settings import from_plain
from al_loop.images import repository
from al_loop.loop.finding import Finding
from al_loop.loop.manifest import Manifest
from al_loop.models import evaluation
from al_loop.state import model_registry
from al_loop.state.database.label_table import set_names
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace
from al_loop.structures.images import LabelledImage
from al_loop.structures.metrics import VALIDATION, Metrics, mask_summary, metrics_from_plain, metrics_to_plain

_DIGITS = 9  # of metrics that are compared


def check_metrics(workspace: Workspace, manifest: Manifest) -> Iterator[Finding]:
    """Compare the metrics of a segmentation cycle with those that the stored predictions give.

    Those of a model whose predictions are gone are not compared, nor if the validation set has changed since.
    A cycle for boxes has nothing to compare.
    """
    here = workspace.with_settings(from_plain(manifest.settings))
    pairs = (manifest.model, manifest.metrics.before), (manifest.candidate, manifest.metrics.after)
    recorded = [(entry.id, plain) for entry, plain in pairs if entry and plain and "validation_hash" in plain]
    if not here.config.outlined or not recorded:
        return
    there = VALIDATION in set_names(here.store)
    truth = repository.validation(here) if there else []
    digest = evaluation.evaluation_hash(here, truth, VALIDATION)
    for name, plain in recorded:
        subject = f"the metrics of {name}"
        if plain["validation_hash"] != digest:
            yield Finding(False, f"{subject}: not compared, the validation set has changed since")
            continue
        metrics = _again(here, model_registry.get_model(here, name), truth)
        if metrics is None:
            yield Finding(False, f"{subject}: not compared, its predictions are gone")
            continue
        same = _rounded(metrics_to_plain(metrics)) == _rounded(metrics_to_plain(metrics_from_plain(plain)))
        change = "as before" if same else f"changed, now {mask_summary(metrics)}"
        yield Finding(not same, f"{subject}, {mask_summary(metrics_from_plain(plain))}: {change}")


def _again(workspace: Workspace, model: Model, truth: list[LabelledImage]) -> Metrics | None:
    """Return the metrics of the stored predictions. None if they are damaged or incomplete."""
    from al_loop.evaluation.measure import measure

    store = shards_in(workspace, evaluation.predictions_dir(workspace.config, model))
    try:
        if store.damaged():
            return None
        predicted = evaluation.boxes_of(store.load(), truth, masks=True)
    except (AlLoopError, KeyError):
        return None
    return measure(truth, predicted, workspace.config.classes, outlined=True)


def _rounded(value: Any) -> Any:
    """Return plain data with rounded numbers."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return round(value, _DIGITS) if isinstance(value, float) else value
