"""Average precision, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from al_loop.evaluation.bootstrap import AREAS, IOUS, ClassMatches
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage, total_boxes
from al_loop.structures.metrics import Metrics

# The row of COCOeval's precision array for IoU = 0.50 and 0.75, and its columns for "all areas"
# and 100 detections per image.
_IOU_50, _IOU_75, _ALL_AREAS, _MAX_100 = 0, 5, 0, 2


def evaluate(
    truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: Sequence[str]
) -> Metrics:
    """Return COCO's AP of the predicted boxes; an image that `predicted` lacks has no detections.

    Boxes on ignore regions of their class are neither right nor false, as on COCO's crowds.
    """
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


def match(
    truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: Sequence[str]
) -> list[ClassMatches]:
    """What COCO's matching says of every predicted box, class by class: all that AP of any resample needs."""
    run = _evaluated(truth, predicted, classes)
    areas, images = len(AREAS), len(truth)
    return [
        _class_matches(
            [[run.evalImgs[(c * areas + a) * images + i] for i in range(images)] for a in range(areas)]
        )
        for c in range(len(classes))
    ]


def _class_matches(found: list[list[Any]]) -> ClassMatches:
    """From COCOeval's results by area and image, None where an image has neither truth nor predictions."""
    truth = np.array(
        [
            [0 if one is None else int((np.asarray(one["gtIgnore"]) == 0).sum()) for one in row]
            for row in found
        ]
    )
    some = [i for i, one in enumerate(found[0]) if one is not None and one["dtScores"]]
    counts = [len(found[0][i]["dtScores"]) for i in some]
    if not some:
        none = np.zeros((len(AREAS), IOUS, 0), dtype=bool)
        return ClassMatches(np.zeros(0, np.int64), none, none, truth)
    scores = np.concatenate([found[0][i]["dtScores"] for i in some])
    # As COCOeval sorts them, so that equal scores come in the same order.
    order = np.argsort(-scores, kind="mergesort")

    def of(name: str) -> Any:
        return np.stack([np.concatenate([row[i][name] for i in some], axis=1) for row in found])[..., order]

    return ClassMatches(
        np.repeat(some, counts)[order], of("dtMatches") > 0, of("dtIgnore").astype(bool), truth
    )


def _precision(truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: Sequence[str]) -> Any:
    run = _evaluated(truth, predicted, classes)
    with contextlib.redirect_stdout(io.StringIO()):
        run.accumulate()
    return run.eval["precision"]


def _evaluated(
    truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: Sequence[str]
) -> COCOeval:
    """Matched, image by image."""
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
    return run


def _dataset(truth: Sequence[LabelledImage], classes: Sequence[str]) -> dict[str, Any]:
    annotations = [
        {
            "id": 0,
            "image_id": number,
            "category_id": int(label),
            "bbox": _xywh(box),
            "area": float((box[2] - box[0]) * (box[3] - box[1])),
            "iscrowd": crowd,
        }
        for number, item in enumerate(truth)
        for crowd, boxes in enumerate((item.boxes, item.ignored))
        for box, label in zip(boxes.xyxy, boxes.labels, strict=True)
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
