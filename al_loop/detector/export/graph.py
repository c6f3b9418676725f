"""A detector as one graph of tensor operations, from the bytes of an image to its boxes and masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from al_loop.core.errors import ModelError
from al_loop.detector.inference import forward_pass, mask_pass
from al_loop.detector.inference.predict import Detector, unsupported_part
from al_loop.structures.masks import SIDE, THRESHOLD

#: Names of the outputs, of all models and of those with masks.
BOX_OUTPUTS = ("boxes", "scores", "labels")
MASK_OUTPUTS = ("masks", "mask_probabilities")


class DetectionGraph(nn.Module):
    """Maps `image`, (1, 3, height, width) uint8 BGR, to boxes, scores and labels, best score first.

    boxes: (n, 4) float32 xyxy px of the input.
    scores: (n,) float32 in [0, 1].
    labels: (n,) int64.
    masks: (n, height, width) uint8, 1 on the object.
    mask_probabilities: (n, SIDE, SIDE) float32 in [0, 1], of the cells of each box.
    Models without masks have no masks and no probabilities.
    """

    def __init__(self, detector: Detector, size: tuple[int, int], score_thr: float) -> None:
        """Build the graph of a detector on the CPU from its fused copy.

        size: (width, height) px of the input.
        score_thr: boxes with a score at or below it are dropped.
        Raises ModelError for a model with parts that the forward pass does not support.
        """
        super().__init__()
        if detector.fused is None:
            reason = unsupported_part(detector.model)
            raise ModelError(
                f"only a plain Faster R-CNN or Mask R-CNN can be exported: this model has {reason}"
            )
        self.model, self.size, self.score_thr = detector.fused, size, score_thr
        with torch.no_grad():
            blank = torch.zeros((1, 3, size[1], size[0]), dtype=torch.uint8)
            maps = self.model.extract_feat(forward_pass.normalise(self.model, blank))
        anchors = forward_pass.anchors_of(self.model, maps)
        self.levels = len(anchors)
        for level, boxes in enumerate(anchors):
            self.register_buffer(f"anchors_{level}", boxes, persistent=False)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in their order."""
        return (*BOX_OUTPUTS, *MASK_OUTPUTS) if self.model.with_mask else BOX_OUTPUTS

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for an image."""
        maps = self.model.extract_feat(forward_pass.normalise(self.model, image))
        anchors = [self.get_buffer(f"anchors_{level}") for level in range(self.levels)]
        _, detections = forward_pass.detect(self.model, maps, anchors, self.size, self.score_thr)
        non_empty = (detections.boxes[:, 2:] > detections.boxes[:, :2]).all(dim=1).nonzero()[:, 0]
        boxes = detections.boxes[non_empty]
        found = boxes, detections.scores[non_empty], detections.labels[non_empty]
        if not self.model.with_mask:
            return found
        probabilities = mask_pass.predict_masks(self.model, maps, detections)[non_empty]
        return (*found, _pasted(probabilities, boxes, self.size), probabilities)


def _pasted(probabilities: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the pixels of masks, (n, height, width) uint8: `al_loop.structures.masks.outline_in`."""
    columns, rows = (_shares(boxes[:, axis], boxes[:, axis + 2], size[axis]) for axis in (0, 1))
    return (rows @ probabilities @ columns.transpose(1, 2) >= THRESHOLD).to(torch.uint8)


def _shares(low: Tensor, high: Tensor, pixels: int) -> Tensor:
    """Return the shares of the cells between two sides of each box in the pixels of an axis, (n, p, SIDE)."""
    at = (torch.arange(pixels) + 0.5 - low[:, None]) * (SIDE / (high - low))[:, None] - 0.5
    return (1 - (at[:, :, None] - torch.arange(SIDE)).abs()).clamp(min=0)
