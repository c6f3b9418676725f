"""Compare two models: metric differences with intervals, and images that only one model gets right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from al_loop.core.console import Reporter
from al_loop.evaluation.bootstrap import Comparison
from al_loop.evaluation.detection_counts import SCORE, all_right
from al_loop.evaluation.precision_recall import ClassCurves, class_curves
from al_loop.images import repository
from al_loop.models import evaluation
from al_loop.state import model_registry
from al_loop.state.model_registry import Model
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage
from al_loop.structures.metrics import MetricName

_MAX_LISTED = 8  # images per model


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """Model `first` minus model `second` on a set.

    metric: the one that decides on promotions; its differences come first.
    right_alone: by model, the images without any error of this model that the other model gets wrong.
    predicted: by model and image, the boxes of at least the default score.
    names: by image, the name of its source file.
    curves: by model, precision over recall of each class.
    """

    first: Model
    second: Model
    set_name: str
    difference: Comparison
    metric: MetricName
    right_alone: Mapping[str, Sequence[LabelledImage]]
    predicted: Mapping[str, Mapping[str, Boxes]]
    names: Mapping[str, str]
    curves: Mapping[str, ClassCurves]

    @property
    def rows(self) -> dict[str, str]:
        """Return every difference with its interval, by metric."""
        masks = self.difference.masks
        if masks is None:
            return _rows(self.difference, "", "boxes")
        boxes = _rows(self.difference, "box ", "boxes")
        rows = _rows(masks, "mask ", "masks")
        if (pixels := self.difference.pixels) is not None:
            rows |= {"mean IoU": str(pixels.mean_iou), "mean Dice": str(pixels.mean_dice)}
            rows |= {f"Dice of {name}": str(value) for name, value in pixels.dice.items()}
        return rows | boxes if self.metric == "mask_ap" else boxes | rows

    @property
    def lines(self) -> list[str]:
        """Return the comparison as lines for a terminal."""
        pair = f"{self.first.id} − {self.second.id}"
        samples = f"{self.difference.images} {self.set_name} images, {self.difference.resamples} resamples"
        lines, width = [f"{pair} on {samples}"], max(map(len, self.rows))
        lines += [f"  {name.ljust(width)}  {text}" for name, text in self.rows.items()]
        for model, images in self.right_alone.items():
            shown = ", ".join(self.names[item.image.id] for item in images[:_MAX_LISTED])
            shown += f" and {len(images) - _MAX_LISTED} more" if len(images) > _MAX_LISTED else ""
            lines.append(f"entirely right only with {model}: {len(images)}{': ' + shown if shown else ''}")
        return lines


def _rows(difference: Comparison, prefix: str, shapes: str) -> dict[str, str]:
    rows = {"AP": difference.ap, "AP50": difference.ap50}
    rows |= {f"AP, {name} {shapes}": value for name, value in difference.by_area.items()}
    rows |= {f"AP of {name}": value for name, value in difference.per_class.items()}
    return {f"{prefix}{name}": str(value) for name, value in rows.items()}


def compare_models(
    workspace: Workspace, first: str, second: str, name: str, reporter: Reporter
) -> ModelComparison:
    """Compare two models on a set.

    Raises ModelError for an unknown model, DataError for an unknown set.
    """
    pair = model_registry.get_model(workspace, first), model_registry.get_model(workspace, second)
    truth = repository.validation(workspace, name)
    difference = evaluation.compare_models(workspace, *pair, name, reporter)
    predicted, right, curves = {}, {}, {}
    classes, key = workspace.config.classes, workspace.config.key_metric
    metric = key if difference.of(key) else "box_ap"  # the same for both
    for model in pair:
        boxes = evaluation.predictions(workspace, model, name, reporter)
        predicted[model.id] = above = {image: all_boxes.above(SCORE) for image, all_boxes in boxes.items()}
        curves[model.id] = class_curves(truth, boxes, classes, metric)
        right[model.id] = {i.image.id for i in truth if all_right(i, above.get(i.image.id, Boxes()))}
    a, b = (model.id for model in pair)
    right_alone = {
        model: [item for item in truth if item.image.id in right[model] - right[other]]
        for model, other in ((a, b), (b, a))
    }
    names = repository.source_names(workspace, [item.image.id for item in truth])
    return ModelComparison(*pair, name, difference, key, right_alone, predicted, names, curves)
