"""From boxes to objects: a detector that is torn between two classes draws the same thing twice."""

from __future__ import annotations

import numpy as np

from strategies.candidates import Detections
from strategies.rows import AnyFloats, FloatArray, IntArray


def iou(a: AnyFloats, b: AnyFloats) -> FloatArray:
    """(n, m) intersection over union of xyxy boxes."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(box[:, 2:] - box[:, :2], 0, None).prod(axis=1) for box in (a, b)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-12))


def objects(detections: Detections, *, overlap: float = 0.5) -> IntArray:
    """Rows, ascending, of one detection per object: of boxes that overlap, whatever their classes, the surest.

    The detector suppresses overlapping boxes within a class only, so that an object between two classes comes
    twice, each time with much the same distribution. overlap: IoU from which two boxes are one object.

    Cost: O(b²) time for an image of b boxes, O(m) memory for m in all.
    """
    rows_kept = []
    for index in np.flatnonzero(detections.counts):
        rows = detections.of(index)
        # Stable: of equally sure ones the first, as the detector gave them.
        order = np.argsort(-detections.scores[rows], kind="stable")
        same = iou(detections.boxes[rows], detections.boxes[rows]) >= overlap
        left = np.ones(len(order), dtype=bool)
        for row in order:
            if left[row]:
                rows_kept.append(rows.start + int(row))
                left &= ~same[row]
    return np.sort(np.asarray(rows_kept, dtype=np.int64))
