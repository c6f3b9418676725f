"""Counts of boxes by class, and by the words that a COCO file has about each box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from al_loop.evaluation.detection_counts import CountRuleName, Counts, count
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage

#: An attribute with more values than these is no grouping, such as a serial number.
_MAX_VALUES = 20


def group_names(
    truth: Sequence[LabelledImage], attributes: Sequence[Sequence[Mapping[str, str]]], classes: Sequence[str]
) -> list[list[set[str]]]:
    """Return the groups of every box by image: its class, then its words as in "legibility: poorly".

    attributes: words of each box by image; empty for an image without any.
    """
    values: dict[str, set[str]] = {}
    for words in (each for image in attributes for each in image):
        for name, value in words.items():
            values.setdefault(name, set()).add(value)
    used = {name for name, found in values.items() if 1 < len(found) <= _MAX_VALUES}
    return [
        [
            {
                f"class: {classes[label]}",
                *(f"{name}: {value}" for name, value in words.items() if name in used),
            }
            for label, words in zip(item.boxes.labels.tolist(), image or [{}] * len(item.boxes), strict=True)
        ]
        for item, image in zip(truth, attributes, strict=True)
    ]


def count_groups(
    truth: Sequence[LabelledImage],
    predicted: Mapping[str, Boxes],
    groups: Sequence[Sequence[set[str]]],
    rule: CountRuleName = "iou",
) -> dict[str, Counts]:
    """Return the counts of the true boxes of each group, by name.

    The boxes of other groups are ignore regions: a prediction there is not false. A false prediction is of no
    group, so that every group counts it.
    """
    names = sorted({name for image in groups for box in image for name in box})
    return {name: count(_only(truth, groups, name), predicted, rule) for name in names}


def _only(
    truth: Sequence[LabelledImage], groups: Sequence[Sequence[set[str]]], name: str
) -> list[LabelledImage]:
    """Return the images with the boxes of one group, and the other boxes as ignore regions."""
    images = []
    for item, boxes in zip(truth, groups, strict=True):
        rows: NDArray[np.bool_] = np.array([name in box for box in boxes], np.bool_)
        others = item.boxes.take(~rows)
        regions = Boxes(
            np.concatenate([item.ignored.xyxy, others.xyxy]),
            np.concatenate([item.ignored.labels, others.labels]),
        )
        images.append(replace(item, boxes=item.boxes.take(rows), ignored=regions))
    return images
