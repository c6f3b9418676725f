"""AP during training, by the same function as everywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric

from al_loop.evaluation.evaluate import evaluate
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage

KEY = "val/AP"  # as it appears among the Runner's metrics


class ValidationAP(BaseMetric):  # type: ignore[misc]
    """COCO AP of what the Runner's validation loop predicts.

    truth: the validation set in the order in which `write_coco` numbered it, from 1.
    """

    default_prefix = "val"

    def __init__(self, truth: Sequence[LabelledImage], classes: Sequence[str]) -> None:
        # "gpu" is mmengine's word for through the process group, and not through files in the current folder.
        super().__init__(collect_device="gpu")
        self.truth = dict(enumerate(truth, start=1))
        self.classes = tuple(classes)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the boxes of a batch."""
        for sample in data_samples:
            found = sample["pred_instances"]
            xyxy = found["bboxes"].double().cpu().numpy()
            solid = (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
            boxes = Boxes(
                xyxy[solid],
                found["labels"].cpu().numpy()[solid],
                found["scores"].double().cpu().numpy()[solid],
            )
            self.results.append((self.truth[sample["img_id"]].image.id, boxes))

    def compute_metrics(self, results: list[tuple[str, Boxes]]) -> dict[str, float]:
        """Return the AP over the set."""
        return {"AP": evaluate(list(self.truth.values()), dict(results), self.classes).ap}
