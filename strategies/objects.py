"""From boxes to objects: a detector may predict two boxes with different classes for one object."""

from __future__ import annotations

import numpy as np

from strategies.candidates import Detections
from strategies.rows import AnyFloats, FloatArray, IntArray


def iou(a: AnyFloats, b: AnyFloats) -> FloatArray:
    """Return the intersection over union of xyxy boxes, (n, m)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(box[:, 2:] - box[:, :2], 0, None).prod(axis=1) for box in (a, b)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-12))


def objects(detections: Detections, *, overlap: float = 0.5) -> IntArray:
    """Return the rows of one detection per object, ascending: of overlapping boxes the one of highest score.

    The detector suppresses overlapping boxes within a class only, so an object between two classes has two
    boxes with similar distributions. overlap: IoU from which two boxes are one object.

    Cost: O(b²) time for an image of b boxes, O(m) memory for m detections.
    """
    best = []
    for index in np.flatnonzero(detections.counts):
        rows = detections.of(index)
        found = distinct(detections.boxes[rows], detections.scores[rows], overlap=overlap)
        best.append(rows.start + found)
    return np.concatenate(best) if best else np.zeros(0, np.int64)


def distinct(boxes: AnyFloats, scores: AnyFloats, *, overlap: float = 0.5) -> IntArray:
    """Return the rows of the boxes of one image that no box of a higher score overlaps, ascending.

    boxes: (b, 4) xyxy px.
    scores: (b,).
    overlap: IoU from which two boxes are one object.
    """
    # Stable, so that of equal scores the first comes first.
    order = np.argsort(-np.asarray(scores), kind="stable")
    same, left, best = iou(boxes, boxes) >= overlap, np.ones(len(order), dtype=bool), []
    for row in order:
        if left[row]:
            best.append(int(row))
            left &= ~same[row]
    return np.sort(np.asarray(best, dtype=np.int64))
