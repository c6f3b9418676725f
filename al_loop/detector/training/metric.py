"""Validation AP in training, computed as for a promotion (`al_loop.evaluation.measure`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray

from al_loop.evaluation.measure import key_value
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes, Outline
from al_loop.structures.images import LabelledImage
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
            outlines = _outlines(predicted.get("masks"), non_empty)
            boxes = Boxes(xyxy[non_empty], labels[non_empty], scores[non_empty], outlines)
            self.results.append((self.truth[sample["img_id"]].image.id, boxes))

    def compute_metrics(self, results: list[tuple[str, Boxes]]) -> dict[str, float]:
        """Return the AP on the set."""
        return {"AP": key_value(list(self.truth.values()), dict(results), self.classes, self.metric)}


def _outlines(masks: Any, rows: NDArray[np.bool_]) -> tuple[Outline, ...] | None:
    """Return the outlines of masks, a tensor (n, h, w), at some rows. None without masks."""
    if masks is None or not rows.any():
        return None
    return tuple(segmentation.mask(masks[row].cpu().numpy()) for row in np.flatnonzero(rows).tolist())
