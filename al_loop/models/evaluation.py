"""Evaluate models of the workspace on labelled sets. Predictions are stored in the model's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from al_loop.core.config import Config
from al_loop.core.console import Progress, Reporter
from al_loop.core.errors import DataError
from al_loop.core.files import json_hash, write_json
from al_loop.evaluation.model_quality import UNKNOWN, ModelQuality, calibration_of, needs_quality, quality_for
from al_loop.images import repository
from al_loop.models import scoring
from al_loop.models.scoring import EXACT
from al_loop.state.file_hashes import shards_in
from al_loop.state.model_registry import Model, save_metrics, saved_metrics
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage
from al_loop.structures.metrics import VALIDATION, Metrics, metrics_to_plain
from al_loop.structures.predictions import ScoredImages
from strategies import Calibration, Prices, Strategy

if TYPE_CHECKING:
    from al_loop.evaluation.bootstrap import Comparison


def evaluate_model(workspace: Workspace, model: Model, name: str, reporter: Reporter) -> Metrics:
    """Return a model's metrics on the named set. They are computed once and stored."""
    classes, truth = workspace.config.classes, repository.validation(workspace, name)
    digest = evaluation_hash(workspace, truth, name)
    saved = saved_metrics(workspace, model.id, digest, name)
    if saved is not None:
        return saved
    from al_loop.evaluation.measure import measure

    predicted = predictions(workspace, model, name, reporter)
    metrics = measure(truth, predicted, classes, outlined=workspace.config.outlined)
    if name == VALIDATION:
        plain = {"validation_hash": digest, **metrics_to_plain(metrics)}
        write_json(model.folder / "metrics.json", plain)
    save_metrics(workspace, model.id, digest, metrics, name)
    return metrics


def evaluation_hash(workspace: Workspace, truth: Sequence[LabelledImage], name: str) -> str:
    """Return a hash of what metrics on a set depend on: its labels and the threshold of predictions."""
    labels = repository.labels_hash(truth, outlines=workspace.config.outlined)
    parts: list[object] = [labels, workspace.config.score.score_thr]
    return json_hash(parts if name == VALIDATION else [*parts, name])


def compare_models(
    workspace: Workspace, candidate: Model, current: Model, name: str, reporter: Reporter
) -> Comparison:
    """Return the differences of two models on the named set, with intervals."""
    from al_loop.evaluation.measure import differ

    classes, truth = workspace.config.classes, repository.validation(workspace, name)
    after, before = (predictions(workspace, model, name, reporter) for model in (candidate, current))
    return differ(truth, after, before, classes, outlined=workspace.config.outlined)


def predictions(workspace: Workspace, model: Model, name: str, reporter: Reporter) -> dict[str, Boxes]:
    """Return a model's boxes on the named set, by image, as `predictions_on` does."""
    return predictions_on(workspace, model, repository.validation(workspace, name), name, reporter)


def predictions_on(
    workspace: Workspace,
    model: Model,
    labelled: Sequence[LabelledImage],
    name: str,
    reporter: Reporter,
    *,
    masks: bool = True,
) -> dict[str, Boxes]:
    """Return a model's boxes on a labelled set, by image. They are stored in the model's folder.

    name: of the set, for messages.
    masks: whether boxes have their masks as outlines, in a segmentation workspace.
    """
    folder, images = predictions_dir(workspace.config, model), [item.image for item in labelled]
    if lost := shards_in(workspace, folder).forget_damaged():
        reporter.line(
            f"  {model.id}: the predictions of {lost} images are damaged on disk and are computed again"
        )
    with reporter.progress(f"{model.id}: {name}") as progress:
        unreadable = scoring.score(workspace, model, images, folder, progress, EXACT, reporter.line)
    if unreadable:
        raise DataError(
            f"{model.id} cannot be evaluated on {name}: {len(unreadable)} of {len(images)} images cannot be "
            f"used. {unreadable[0].reason}"
        )
    scored = shards_in(workspace, folder).load()
    return boxes_of(scored, labelled, masks=masks and workspace.config.outlined)


def boxes_of(scored: ScoredImages, labelled: Sequence[LabelledImage], *, masks: bool) -> dict[str, Boxes]:
    """Return the predicted boxes of labelled images, by image. masks: with their masks as outlines.

    Raises KeyError for an image without a prediction.
    """
    images = [item.image for item in labelled]
    some = scored.subset([image.id for image in images])
    if not masks:
        return some.boxes_by_image()
    return {
        image.id: some.outlined_boxes(index, image.width, image.height) for index, image in enumerate(images)
    }


def validation_quality(
    workspace: Workspace, model: Model, strategy: Strategy, reporter: Reporter
) -> ModelQuality:
    """Return what a strategy reads of a model's quality on the validation set, which no model is trained on.

    Nothing is known of a model that was not evaluated on this set.
    """
    if not needs_quality(strategy):
        return UNKNOWN
    return quality_for(strategy, *_on_validation(workspace, model, reporter), workspace.config.classes)


def _on_validation(
    workspace: Workspace, model: Model, reporter: Reporter
) -> tuple[list[LabelledImage], dict[str, Boxes]]:
    """Return the validation set and a model's boxes on it. Both are empty if it was never evaluated there."""
    if not predictions_dir(workspace.config, model).is_dir():
        return [], {}
    truth = repository.validation(workspace, VALIDATION)
    return truth, predictions_on(workspace, model, truth, VALIDATION, reporter, masks=False)


def least_scores(workspace: Workspace, model: Model, reporter: Reporter, prices: Prices) -> tuple[float, ...]:
    """Return the score of each class from which people see the boxes of a model.

    With `label_studio.min_score = "auto"` these are the scores from which showing a box saves more time than
    it costs, by the chance that it is right, on the validation set. `usual_min_score` if that is not known.
    """
    settings, classes = workspace.config.label_studio, len(workspace.config.classes)
    if settings.min_score == "auto" and (calibration := box_calibration(workspace, model, reporter)):
        return calibration.least_scores(prices.least_chance)
    return (settings.usual_min_score,) * classes


def box_calibration(workspace: Workspace, model: Model, reporter: Reporter) -> Calibration | None:
    """Return how well the boxes of a model are calibrated on the validation set. None if unknown or bad."""
    found = calibration_of(*_on_validation(workspace, model, reporter), workspace.config.classes)
    return found if found is not None and found.is_useful else None


def predictions_dir(settings: Config, model: Model) -> Path:
    """Return the folder of a model's boxes on labelled sets, for the score threshold of these settings."""
    masks = "-masks" if settings.outlined else ""
    return model.folder / "validation" / f"thr-{settings.score.score_thr:g}{masks}"


def evaluate_labelled(
    workspace: Workspace, model: Model, labelled: Sequence[LabelledImage], folder: Path, progress: Progress
) -> Metrics:
    """Return a model's metrics on labelled images. Its predictions are stored in `folder`."""
    from al_loop.evaluation.measure import measure

    config = workspace.config
    scoring.score(workspace, model, [item.image for item in labelled], folder, progress, EXACT)
    predicted = boxes_of(shards_in(workspace, folder).load(), labelled, masks=config.outlined)
    return measure(labelled, predicted, config.classes, outlined=config.outlined, intervals=False)
