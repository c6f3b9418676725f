"""Validation AP in training, computed by `al_loop.evaluation.evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric

from al_loop.evaluation.evaluate import evaluate
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage

KEY = "val/AP"  # of the AP among the Runner's metrics


class ValidationAP(BaseMetric):  # type: ignore[misc]
    """COCO AP of the predictions of the Runner's validation loop.

    truth: the validation set, in the order in which `write_coco` numbers its images from 1.
    """

    default_prefix = "val"

    def __init__(self, truth: Sequence[LabelledImage], classes: Sequence[str]) -> None:
        # "gpu" makes mmengine collect through the process group; "cpu" means files in the current folder.
        super().__init__(collect_device="gpu")
        self.truth = dict(enumerate(truth, start=1))
        self.classes = tuple(classes)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Store the predictions of a batch."""
        for sample in data_samples:
            predicted = sample["pred_instances"]
            columns = predicted["bboxes"].double(), predicted["labels"], predicted["scores"].double()
            xyxy, labels, scores = (column.cpu().numpy() for column in columns)
            non_empty = (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
            boxes = Boxes(xyxy[non_empty], labels[non_empty], scores[non_empty])
            self.results.append((self.truth[sample["img_id"]].image.id, boxes))

    def compute_metrics(self, results: list[tuple[str, Boxes]]) -> dict[str, float]:
        """Return the AP on the set."""
        return {"AP": evaluate(list(self.truth.values()), dict(results), self.classes).ap}
