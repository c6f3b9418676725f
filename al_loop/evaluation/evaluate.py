"""COCO's average precision of boxes or masks, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from al_loop.evaluation.bootstrap import AREAS, IOUS, ClassMatches
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage, total_boxes
from al_loop.structures.metrics import Metrics

#: What COCOeval matches: boxes or masks.
Shape = Literal["bbox", "segm"]

# Indices into COCOeval's precision array: IoU 0.50 and 0.75, all areas, 100 detections per image.
_IOU_50, _IOU_75, _ALL_AREAS, _MAX_100 = 0, 5, 0, 2


@dataclass(frozen=True)
class Precision:
    """COCO's AP over IoU 0.50 to 0.95, at 0.50, at 0.75, and of each class."""

    ap: float
    ap50: float
    ap75: float
    per_class: dict[str, float | None]


def evaluate(
    truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: Sequence[str]
) -> Metrics:
    """Return COCO's AP of predicted boxes.

    predicted: boxes by image id. A missing image has no detections.
    Detections in ignore regions of their class are not counted, like those in COCO's crowd regions.
    """
    found = average_precision(truth, predicted, classes)
    return Metrics(
        found.ap, found.ap50, found.ap75, found.per_class, images=len(truth), boxes=total_boxes(truth)
    )


def average_precision(
    truth: Sequence[LabelledImage],
    predicted: Mapping[str, Boxes],
    classes: Sequence[str],
    shape: Shape = "bbox",
) -> Precision:
    """Return COCO's AP of predicted boxes or masks.

    shape: "segm" compares masks. A true box without an outline is then an ignore region of its class, as is
        the rectangle of an ignore region. A predicted box without an outline has an empty mask.
    """
    precision = _precision(truth, predicted, classes, shape)  # (IoU, recall, class, area, detections)
    everywhere = precision[:, :, :, _ALL_AREAS, _MAX_100]
    per_class = [_mean(everywhere[:, :, index]) for index in range(len(classes))]
    return Precision(
        ap=_mean(everywhere) or 0.0,
        ap50=_mean(everywhere[_IOU_50]) or 0.0,
        ap75=_mean(everywhere[_IOU_75]) or 0.0,
        per_class=dict(zip(classes, per_class, strict=True)),
    )


def match(
    truth: Sequence[LabelledImage],
    predicted: Mapping[str, Boxes],
    classes: Sequence[str],
    shape: Shape = "bbox",
) -> list[ClassMatches]:
    """Return COCO's matches of each class, from which AP of any resample of the images is computed.

    shape: as in `average_precision`.
    """
    run = _run_matching(truth, predicted, classes, shape)
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


def _precision(
    truth: Sequence[LabelledImage],
    predicted: Mapping[str, Boxes],
    classes: Sequence[str],
    shape: Shape = "bbox",
) -> Any:
    run = _run_matching(truth, predicted, classes, shape)
    with contextlib.redirect_stdout(io.StringIO()):
        run.accumulate()
    return run.eval["precision"]


def _run_matching(
    truth: Sequence[LabelledImage], predicted: Mapping[str, Boxes], classes: Sequence[str], shape: Shape
) -> COCOeval:
    """Return a COCOeval that has matched the detections of each image."""
    detected = [predicted.get(item.image.id, Boxes()) for item in truth]
    results = [
        {**entry, "score": score}
        for number, (item, boxes) in enumerate(zip(truth, detected, strict=True))
        if boxes.scores is not None
        for entry, score in zip(
            _entries(number, item.image, boxes, shape), boxes.scores.tolist(), strict=True
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports on stdout
        ground = COCO()
        ground.dataset = _dataset(truth, classes, shape)
        ground.createIndex()
        detections = ground.loadRes(results) if results else COCO()
        if not results:
            detections.dataset = {**ground.dataset, "annotations": []}
            detections.createIndex()
        run = COCOeval(ground, detections, shape)
        run.evaluate()
    return run


def _dataset(truth: Sequence[LabelledImage], classes: Sequence[str], shape: Shape) -> dict[str, Any]:
    annotations = [entry for number, item in enumerate(truth) for entry in _truth(number, item, shape)]
    images = enumerate(item.image for item in truth)
    return {
        "images": [{"id": number, "width": image.width, "height": image.height} for number, image in images],
        "annotations": [
            {**entry, "id": n} for n, entry in enumerate(annotations, 1)
        ],  # COCOeval treats id 0 as no match
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes)],
    }


def _truth(number: int, item: LabelledImage, shape: Shape) -> Iterator[dict[str, Any]]:
    """Yield the true boxes and the ignore regions of an image, which are crowds, in the form of COCO."""
    counted = item.boxes.outlined if shape == "segm" else np.ones(len(item.boxes), np.bool_)
    for boxes, crowds in ((item.boxes, ~counted), (item.ignored, np.ones(len(item.ignored), np.bool_))):
        entries = _entries(number, item.image, boxes, shape, rectangles=True)
        for entry, crowd in zip(entries, crowds.tolist(), strict=True):
            if shape == "segm":
                area = float(coco_mask.area(entry["segmentation"]))
            else:
                area = entry["bbox"][2] * entry["bbox"][3]
            yield {**entry, "area": area, "iscrowd": int(crowd)}


def _entries(
    number: int, image: ImageFile, boxes: Boxes, shape: Shape, *, rectangles: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield the boxes or masks of an image in the form of COCO.

    rectangles: a box without an outline is a rectangle. Otherwise its mask is empty.
    """
    if shape == "bbox":
        xywh = np.concatenate([boxes.xyxy[:, :2], boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]], axis=1)
        for box, label in zip(xywh.tolist(), boxes.labels.tolist(), strict=True):
            yield {"image_id": number, "category_id": label, "bbox": box}
        return
    width, height = image.width, image.height
    outlines = boxes.outlines or (None,) * len(boxes)
    for box, label, outline in zip(boxes.xyxy, boxes.labels.tolist(), outlines, strict=True):
        instead = segmentation.rectangle(box if rectangles else np.zeros(4), width, height)
        pixels = segmentation.run_lengths(instead if outline is None else outline, width, height)
        yield {"image_id": number, "category_id": label, "segmentation": pixels}


def _mean(precision: Any) -> float | None:
    """Return the mean of the defined values, or None. COCOeval marks undefined values with -1."""
    valid = precision[precision > -1]
    return float(np.mean(valid)) if valid.size else None
