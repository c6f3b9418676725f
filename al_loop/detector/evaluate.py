"""Average precision, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from al_loop.boxes import Boxes
from al_loop.samples import LabelledImage, Metrics, total_boxes

# The row of COCOeval's precision array for IoU = 0.50 and 0.75, and its columns for "all areas"
# and 100 detections per image.
_IOU_50, _IOU_75, _ALL_AREAS, _MAX_100 = 0, 5, 0, 2


def evaluate(
    truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: Sequence[str]
) -> Metrics:
    """Return COCO's AP of the predicted boxes; an image that `predicted` lacks has no detections."""
    precision = _precision(truth, predicted, classes)  # (IoU, recall, class, area, detections)
    everywhere = precision[:, :, :, _ALL_AREAS, _MAX_100]
    per_class = [_mean(everywhere[:, :, index]) for index in range(len(classes))]
    return Metrics(
        ap=_mean(everywhere) or 0.0,
        ap50=_mean(everywhere[_IOU_50]) or 0.0,
        ap75=_mean(everywhere[_IOU_75]) or 0.0,
        per_class=dict(zip(classes, per_class, strict=True)),
        images=len(truth),
        boxes=total_boxes(truth),
    )


def _precision(truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: Sequence[str]) -> Any:
    results = [
        {"image_id": number, "category_id": int(label), "bbox": _xywh(box), "score": float(score)}
        for number, item in enumerate(truth)
        for box, label, score in _rows(predicted.get(item.image.id))
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports on stdout
        ground = COCO()
        ground.dataset = _dataset(truth, classes)
        ground.createIndex()
        found = ground.loadRes(results) if results else COCO()
        if not results:
            found.dataset = {**ground.dataset, "annotations": []}
            found.createIndex()
        run = COCOeval(ground, found, "bbox")
        run.evaluate()
        run.accumulate()
    return run.eval["precision"]


def _dataset(truth: Sequence[LabelledImage], classes: Sequence[str]) -> dict[str, Any]:
    annotations = [
        {
            "id": 0,
            "image_id": number,
            "category_id": int(label),
            "bbox": _xywh(box),
            "area": float((box[2] - box[0]) * (box[3] - box[1])),
            "iscrowd": 0,
        }
        for number, item in enumerate(truth)
        for box, label in zip(item.boxes.xyxy, item.boxes.labels, strict=True)
    ]
    for identity, annotation in enumerate(annotations, start=1):  # 0 means "unmatched" to COCOeval
        annotation["id"] = identity
    return {
        "images": [
            {"id": i, "width": item.image.width, "height": item.image.height} for i, item in enumerate(truth)
        ],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes)],
    }


def _rows(boxes: Boxes | None) -> list[tuple[Any, Any, Any]]:
    if boxes is None or boxes.scores is None:
        return []
    return list(zip(boxes.xyxy, boxes.labels, boxes.scores, strict=True))


def _xywh(box: Any) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def _mean(precision: Any) -> float | None:
    """Average over what COCOeval could compute; it marks the rest with -1."""
    valid = precision[precision > -1]
    return float(np.mean(valid)) if valid.size else None
