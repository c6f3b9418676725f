"""A Faster R-CNN as one graph of tensor operations, from the bytes of an image to its boxes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from al_loop.core.errors import ModelError
from al_loop.detector.inference import forward_pass
from al_loop.detector.inference.predict import Detector


class DetectionGraph(nn.Module):
    """Maps `image`, (1, 3, height, width) uint8 BGR, to boxes, scores and labels, best score first.

    boxes: (n, 4) float32 xyxy px of the input.
    scores: (n,) float32 in [0, 1].
    labels: (n,) int64.
    """

    def __init__(self, detector: Detector, size: tuple[int, int], score_thr: float) -> None:
        """Build the graph of a detector on the CPU from its fused copy.

        size: (width, height) px of the input.
        score_thr: boxes with a score at or below it are dropped.
        Raises ModelError for a model with parts that the forward pass does not support.
        """
        super().__init__()
        if detector.fused is None:
            reason = forward_pass.unsupported_part(detector.model)
            raise ModelError(f"only a plain Faster R-CNN can be exported: this model has {reason}")
        self.model, self.size, self.score_thr = detector.fused, size, score_thr
        with torch.no_grad():
            blank = torch.zeros((1, 3, size[1], size[0]), dtype=torch.uint8)
            maps = self.model.extract_feat(forward_pass.normalise(self.model, blank))
        anchors = forward_pass.anchors_of(self.model, maps)
        self.levels = len(anchors)
        for level, boxes in enumerate(anchors):
            self.register_buffer(f"anchors_{level}", boxes, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (n, 4), scores (n,) and labels (n,) of an image."""
        maps = self.model.extract_feat(forward_pass.normalise(self.model, image))
        anchors = [self.get_buffer(f"anchors_{level}") for level in range(self.levels)]
        _, detections = forward_pass.detect(self.model, maps, anchors, self.size, self.score_thr)
        non_empty = (detections.boxes[:, 2:] > detections.boxes[:, :2]).all(dim=1).nonzero()[:, 0]
        return detections.boxes[non_empty], detections.scores[non_empty], detections.labels[non_empty]
