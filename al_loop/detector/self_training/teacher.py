"""The teacher: labels unlabelled images for the model that is trained, the student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from math import inf
from typing import Any

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from al_loop.detector.ignore_regions import extend_regions
from al_loop.detector.inference import forward_pass
from al_loop.detector.precision import precision_here

#: Boxes of the teacher with a lower score have no effect.
LEAST_SCORE = 0.05
# An uncertain box that overlaps a pseudo-box this much shows the same object.
_SAME_OBJECT = 0.5
# Soft Teacher, section 3.3: jittered copies of a box, their largest shift as a share of its sides, and the
# largest standard deviation of their regressed edges as a share of the mean side.
_COPIES, _JITTER, _MAX_SPREAD = 10, 0.06, 0.02


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """The teacher's labels of one image, in px of the training image.

    boxes: (n, 4) xyxy of sure boxes.
    classes: (n,) class of each.
    stable: (n,) whether its edges are reliable enough to regress to.
    ignored: (m, 4) xyxy regions where an object may be. They give no background loss.
    """

    boxes: Tensor
    classes: Tensor
    stable: Tensor
    ignored: Tensor


@dataclass(frozen=True, eq=False)
class View:
    """A batch of images as the teacher sees it.

    maps: feature maps of each level.
    size: (width, height) px of the padded batch.
    """

    maps: Sequence[Tensor]
    size: tuple[int, int]


def unsupported_part(model: Any) -> str | None:
    """Describe the first part of a model that self-training does not support. None if there is none."""
    for part, name in ((model.rpn_head, "RPNHead"), (model.roi_head, "StandardRoIHead")):
        if type(part).__name__ != name:
            return f"{type(part).__name__} in place of {name}"
    return forward_pass.unsupported_part(model)


class Teacher:
    """A detector that labels images.

    It computes feature maps in bf16 where that is faster, and all else in float32, also within an autocast of
    the training.
    """

    def __init__(self, model: Any, thresholds: Sequence[float | None]) -> None:
        """Take a model that `unsupported_part` accepts, and the score threshold of each class.

        A class whose threshold is None gives no boxes, but ignored regions.
        """
        self.model = model.eval()
        self.model.roi_head.bbox_head.channels_last = False  # `forward_pass` reads it
        self.device = next(model.parameters()).device
        self._thresholds = torch.tensor([inf if t is None else t for t in thresholds], device=self.device)
        self._bf16 = precision_here("auto", self.device) == "bf16"
        self._exact = partial(torch.autocast, self.device.type, enabled=False)

    @torch.no_grad()
    def look(self, pictures: list[Tensor]) -> View:
        """Compute the feature maps of pictures, (3, h, w) uint8 BGR each."""
        batch = self.model.data_preprocessor({"inputs": pictures, "data_samples": None})["inputs"]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            maps = self.model.extract_feat(batch.contiguous(memory_format=torch.channels_last))
        return View([level.float() for level in maps], (batch.shape[-1], batch.shape[-2]))

    @torch.no_grad()
    def label(self, view: View, shapes: Sequence[tuple[int, int]]) -> list[PseudoLabels]:
        """Label the images of a view. shapes: (height, width) px of each without padding."""
        anchors = forward_pass.anchors_of(self.model, view.maps)
        with self._exact():
            _, found = forward_pass.detect(self.model, view.maps, anchors, view.size, LEAST_SCORE)
        ends = list(accumulate(found.counts))
        rows = [slice(end - count, end) for end, count in zip(ends, found.counts, strict=True)]
        labels = [
            self._divide(found.boxes[part], found.labels[part], found.scores[part], shape)
            for part, shape in zip(rows, shapes, strict=True)
        ]
        stable = self._stable(view, [each.boxes for each in labels], [each.classes for each in labels])
        return [
            PseudoLabels(each.boxes, each.classes, flags, each.ignored)
            for each, flags in zip(labels, stable, strict=True)
        ]

    @torch.no_grad()
    def classify(self, view: View, boxes: Sequence[Tensor]) -> Tensor:
        """Return the class distributions of boxes of each image, (n, C + 1), background last."""
        return self._classify(view, [each.float() for each in boxes]).distributions

    @torch.no_grad()
    def objectness(self, view: View) -> list[Tensor]:
        """Return the probability of an object at each anchor, (n, anchors, h, w) of each level."""
        with self._exact():
            return [logits.sigmoid() for logits in self.model.rpn_head(view.maps)[0]]

    def _classify(self, view: View, boxes: Sequence[Tensor]) -> forward_pass.Heads:
        with self._exact():
            return forward_pass.classify(self.model, view.maps, boxes, view.size)

    def _divide(self, boxes: Tensor, classes: Tensor, scores: Tensor, shape: tuple[int, int]) -> PseudoLabels:
        """Divide the boxes of an image into sure boxes and ignored regions."""
        height, width = shape
        boxes = torch.minimum(boxes, boxes.new_tensor([width, height, width, height]))
        inside = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)  # not in the padding
        boxes, classes, scores = boxes[inside], classes[inside], scores[inside]
        sure = scores >= self._thresholds[classes]
        maybe = boxes[~sure]
        if sure.any():
            maybe = maybe[bbox_overlaps(maybe, boxes[sure]).amax(dim=1) < _SAME_OBJECT]
        ignored = torch.cat([maybe, extend_regions(maybe, shape)])
        return PseudoLabels(boxes[sure], classes[sure], sure[sure], ignored)

    def _stable(self, view: View, boxes: Sequence[Tensor], classes: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return whether boxes stay in place if the teacher regresses jittered copies of them.

        Source: Xu 2021 (Soft Teacher), eq. 5 and 6.
        """
        if not any(map(len, boxes)):
            return [each.new_zeros(0, dtype=torch.bool) for each in boxes]
        jittered = [_jitter(each) for each in boxes]
        heads = self._classify(view, jittered)
        regressed = heads.boxes.view(len(heads.boxes), -1, 4)
        label = torch.cat([each.repeat(_COPIES) for each in classes])
        column = label * 0 if regressed.shape[1] == 1 else label
        edges = torch.split(regressed[torch.arange(len(label)), column], list(map(len, jittered)))
        return [_spread(moved, each) < _MAX_SPREAD for moved, each in zip(edges, boxes, strict=True)]


def _jitter(boxes: Tensor) -> Tensor:
    """Return moved copies of boxes (n, 4), (copies * n, 4)."""
    shift = torch.rand(_COPIES, *boxes.shape, device=boxes.device) * 2 - 1
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return (boxes + _JITTER * shift * sides).flatten(0, 1)


def _spread(edges: Tensor, boxes: Tensor) -> Tensor:
    """Return the standard deviation of regressed edges as a share of the mean side of their boxes, (n,)."""
    deviation = edges.view(_COPIES, -1, 4).std(dim=0).mean(dim=1)
    return deviation / (boxes[:, 2:] - boxes[:, :2]).mean(dim=1)
