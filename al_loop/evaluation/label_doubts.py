"""Labels that a model contradicts: missing boxes, boxes that are off, and classes that differ.

Source: the kinds are those of Tkachenko et al. 2023 (ObjectLab, arXiv 2309.00832); the losses are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from al_loop.structures.boxes import Boxes, FloatArray, covered, iou
from al_loop.structures.images import ImageFile, LabelledImage
from strategies import Calibration

#: Least IoU of a predicted and a labelled box of the same object.
_SAME_OBJECT = 0.5
#: Least IoU of a predicted box and a labelled box that may be meant for the same object.
_MAY_BE_SAME = 0.1
#: IoU from which a labelled box is tight enough.
_TIGHT = 0.8
#: Loss of a labelled box that the model does not see, nats: as if it found half of the objects.
_UNSEEN = float(np.log(2))
#: Share of a predicted box inside an ignore region from which it says nothing about the labels.
_IGNORED = 0.5
#: Largest chance that a box is right, so that losses are finite.
_MOST = 0.999


class Kind(StrEnum):
    """What may be wrong with a label."""

    MISSING = "missing"  # the model sees an object where no box is
    OFF = "off"  # the model's box of the object has another place or size
    CLASS = "class"  # the model's box of the object has another class
    UNSEEN = "unseen"  # the model sees no object where a box is


@dataclass(frozen=True, eq=False)
class Doubt:
    """A box, labelled or missing, that a model contradicts.

    loss: negative logarithm of the chance of this label, if the model is right as often as it should be.
    box: (4,) xyxy in px, of the label; of the model if the label is missing.
    label: class index of the label. None if it is missing.
    predicted: class index of the model's box. None if there is none.
    chance: that the model's box is right, in [0, 1]. 0 if there is none.
    """

    image: ImageFile
    kind: Kind
    loss: float
    box: FloatArray
    label: int | None
    predicted: int | None
    chance: float


def label_doubts(
    labelled: Sequence[LabelledImage],
    predicted: Mapping[str, Boxes],
    calibration: Calibration | None = None,
) -> list[Doubt]:
    """Return the boxes of labelled images that a model contradicts, largest loss first.

    labelled: images that the model was not trained on.
    predicted: boxes by image id. An image without an entry is passed over.
    calibration: gives the chance that a box is right. None: the score is this chance.
    """
    doubts = [
        doubt
        for item in labelled
        if (boxes := predicted.get(item.image.id)) is not None
        for doubt in _doubts_of(item, boxes.shown(0.0), calibration)
    ]
    return sorted(doubts, key=lambda doubt: (-doubt.loss, doubt.image.id, *doubt.box.tolist()))


def _doubts_of(item: LabelledImage, found: Boxes, calibration: Calibration | None) -> Iterator[Doubt]:
    """Yield the doubts of one image. found: one box for each object that the model sees."""
    assert found.scores is not None
    chances = found.scores if calibration is None else calibration.chances(found.labels, found.scores)
    chances = np.minimum(chances, _MOST)
    overlaps = iou(item.boxes.xyxy, found.xyxy)
    image, best = item.image, overlaps.max(axis=1, initial=0.0)
    for index, (box, label) in enumerate(zip(item.boxes.xyxy, item.boxes.labels.tolist(), strict=True)):
        if best[index] < _MAY_BE_SAME:
            yield Doubt(image, Kind.UNSEEN, _UNSEEN, box, label, None, 0.0)
            continue
        other = int(overlaps[index].argmax())
        predicted, chance = int(found.labels[other]), float(chances[other])
        loss = float(-np.log1p(-chance))
        if best[index] >= _SAME_OBJECT and predicted != label:
            yield Doubt(image, Kind.CLASS, loss, box, label, predicted, chance)
        elif best[index] < _TIGHT:
            loss *= float(1 - best[index] / _TIGHT)
            yield Doubt(image, Kind.OFF, loss, box, label, predicted, chance)
    free = overlaps.max(axis=0, initial=0.0) < _MAY_BE_SAME
    free &= covered(found.xyxy, item.ignored.xyxy).max(axis=1, initial=0.0) < _IGNORED
    for index in np.flatnonzero(free).tolist():
        loss, chance = float(-np.log1p(-chances[index])), float(chances[index])
        yield Doubt(image, Kind.MISSING, loss, found.xyxy[index], None, int(found.labels[index]), chance)
