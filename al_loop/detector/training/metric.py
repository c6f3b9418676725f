"""Validation AP in training, computed as for a promotion (`al_loop.evaluation.measure`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric

from al_loop.evaluation.measure import key_value
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage
from al_loop.structures.masks import rounded, with_masks
from al_loop.structures.metrics import MetricName

KEY = "val/AP"  # of the AP among the Runner's metrics


class ValidationAP(BaseMetric):  # type: ignore[misc]
    """COCO AP of the predictions of the Runner's validation loop.

    truth: the validation set, in the order in which `write_coco` numbers its images from 1.
    metric: AP of boxes, or of masks if the model predicts any.
    """

    default_prefix = "val"

    def __init__(
        self, truth: Sequence[LabelledImage], classes: Sequence[str], metric: MetricName = "box_ap"
    ) -> None:
        # "gpu" makes mmengine collect through the process group; "cpu" means files in the current folder.
        super().__init__(collect_device="gpu")
        self.truth = dict(enumerate(truth, start=1))
        self.classes, self.metric = tuple(classes), metric

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Store the predictions of a batch."""
        for sample in data_samples:
            predicted = sample["pred_instances"]
            columns = predicted["bboxes"].double(), predicted["labels"], predicted["scores"].double()
            xyxy, labels, scores = (column.cpu().numpy() for column in columns)
            non_empty = (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
            boxes, image = Boxes(xyxy[non_empty], labels[non_empty], scores[non_empty]), self._image(sample)
            if "masks" in predicted:
                masks = rounded(predicted["masks"].cpu().numpy()[non_empty])
                boxes = with_masks(boxes, masks, image.width, image.height)
            self.results.append((image.id, boxes))

    def _image(self, sample: dict[str, Any]) -> ImageFile:
        return self.truth[sample["img_id"]].image

    def compute_metrics(self, results: list[tuple[str, Boxes]]) -> dict[str, float]:
        """Return the AP on the set."""
        return {"AP": key_value(list(self.truth.values()), dict(results), self.classes, self.metric)}
