"""COCO's average precision, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from al_loop.evaluation.bootstrap import AREAS, IOUS, ClassMatches
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage, total_boxes
from al_loop.structures.metrics import Metrics

# Indices into COCOeval's precision array: IoU 0.50 and 0.75, all areas, 100 detections per image.
_IOU_50, _IOU_75, _ALL_AREAS, _MAX_100 = 0, 5, 0, 2


def evaluate(
    truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: Sequence[str]
) -> Metrics:
    """Return COCO's AP of predicted boxes.

    predicted: boxes by image id. A missing image has no detections.
    Detections in ignore regions of their class are not counted, like those in COCO's crowd regions.
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
    """Return COCO's matches of each class, from which AP of any resample of the images is computed."""
    run = _run_matching(truth, predicted, classes)
    areas, images = len(AREAS), len(truth)
    return [
        _class_matches(
            [[run.evalImgs[(c * areas + a) * images + i] for i in range(images)] for a in range(areas)]
        )
        for c in range(len(classes))
    ]


def _class_matches(results: list[list[Any]]) -> ClassMatches:
    """Return the matches of a class.

    results: results of COCOeval, by area and image. None for an image with neither true boxes nor detections.
    """
    truth = np.array(
        [
            [0 if each is None else int((np.asarray(each["gtIgnore"]) == 0).sum()) for each in row]
            for row in results
        ]
    )
    images = [i for i, each in enumerate(results[0]) if each is not None and each["dtScores"]]
    counts = [len(results[0][i]["dtScores"]) for i in images]
    if not images:
        empty = np.zeros((len(AREAS), IOUS, 0), dtype=bool)
        return ClassMatches(np.zeros(0, np.int64), np.zeros(0), empty, empty, truth)
    scores = np.concatenate([results[0][i]["dtScores"] for i in images])
    # The sort of COCOeval, so that equal scores have the same order.
    order = np.argsort(-scores, kind="mergesort")

    def stacked(name: str) -> Any:
        rows = [np.concatenate([row[i][name] for i in images], axis=1) for row in results]
        return np.stack(rows)[..., order]

    hit, ignored = stacked("dtMatches") > 0, stacked("dtIgnore").astype(bool)
    return ClassMatches(np.repeat(images, counts)[order], scores[order], hit, ignored, truth)


def _precision(truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: Sequence[str]) -> Any:
    run = _run_matching(truth, predicted, classes)
    with contextlib.redirect_stdout(io.StringIO()):
        run.accumulate()
    return run.eval["precision"]


def _run_matching(
    truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: Sequence[str]
) -> COCOeval:
    """Return a COCOeval that has matched the detections of each image."""
    detected = [predicted.get(item.image.id, Boxes()) for item in truth]
    results = [
        {**entry, "score": score}
        for number, boxes in enumerate(detected)
        if boxes.scores is not None
        for entry, score in zip(_entries(number, boxes), boxes.scores.tolist(), strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports on stdout
        ground = COCO()
        ground.dataset = _dataset(truth, classes)
        ground.createIndex()
        detections = ground.loadRes(results) if results else COCO()
        if not results:
            detections.dataset = {**ground.dataset, "annotations": []}
            detections.createIndex()
        run = COCOeval(ground, detections, "bbox")
        run.evaluate()
    return run


def _dataset(truth: Sequence[LabelledImage], classes: Sequence[str]) -> dict[str, Any]:
    entries = (
        {**entry, "area": entry["bbox"][2] * entry["bbox"][3], "iscrowd": crowd}
        for number, item in enumerate(truth)
        for crowd, boxes in enumerate((item.boxes, item.ignored))
        for entry in _entries(number, boxes)
    )
    images = enumerate(item.image for item in truth)
    return {
        "images": [{"id": number, "width": image.width, "height": image.height} for number, image in images],
        "annotations": [
            {**entry, "id": n} for n, entry in enumerate(entries, 1)
        ],  # COCOeval treats id 0 as no match
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes)],
    }


def _entries(number: int, boxes: Boxes) -> Iterator[dict[str, Any]]:
    """Yield the boxes of an image in the form of COCO."""
    xywh = np.concatenate([boxes.xyxy[:, :2], boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]], axis=1)
    for box, label in zip(xywh.tolist(), boxes.labels.tolist(), strict=True):
        yield {"image_id": number, "category_id": label, "bbox": box}


def _mean(precision: Any) -> float | None:
    """Return the mean of the defined values, or None. COCOeval marks undefined values with -1."""
    valid = precision[precision > -1]
    return float(np.mean(valid)) if valid.size else None
