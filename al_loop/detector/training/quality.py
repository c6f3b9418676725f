"""Quality of each class in training: score and overlap of positive RoIs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from torch import Tensor

from al_loop.structures.boxes import FloatArray

_SCORE_EXPONENT = 0.6  # exponent of the score; that of the overlap is 1 minus this
_KEY = "class_quality"  # of a checkpoint
_MOMENTUM = 0.99  # of the running mean


class ClassQuality(Hook):  # type: ignore[misc]
    """Running mean per class of p^0.6 IoU^0.4 over the positive RoIs of each step. 0 for a class without any.

    p is the softmax score of the true class, IoU that of the decoded box with the true box. Used as a context
    manager, it reads the inputs of the box head's loss and does not change them. Checkpoints have the mean.
    Source: Yang, Huang & Crowley 2024 (PPAL), eq. 2 and 3.
    """

    def __init__(self, model: Any) -> None:
        """Measure the box head of a two-stage detector."""
        self._head = model.roi_head.bbox_head
        self._mean = np.zeros(self._head.num_classes)

    def __enter__(self) -> ClassQuality:
        """Start measuring."""
        self._loss_and_target = self._head.loss_and_target
        self._head.loss_and_target = self._measured_loss_and_target
        return self

    def __exit__(self, *_: object) -> None:
        """Stop measuring."""
        del self._head.loss_and_target  # restores the method of the class

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Store the mean."""
        checkpoint[_KEY] = self._mean.tolist()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Continue with the mean of a killed training."""
        self._mean = np.array(checkpoint[_KEY])

    @property
    def mean(self) -> FloatArray:
        """Return the mean of each class, (C,) in [0, 1]."""
        return self._mean.copy()

    def _measured_loss_and_target(
        self, cls_score: Tensor, bbox_pred: Tensor, rois: Tensor, sampling_results: Any, **rest: Any
    ) -> Any:
        self._update(*self._quality(cls_score.detach(), bbox_pred.detach(), rois, sampling_results))
        return self._loss_and_target(
            cls_score=cls_score, bbox_pred=bbox_pred, rois=rois, sampling_results=sampling_results, **rest
        )

    @torch.no_grad()
    def _quality(self, logits: Tensor, deltas: Tensor, rois: Tensor, sampled: Any) -> tuple[Tensor, Tensor]:
        """Return the quality of each positive RoI of this process, (p,), and its class, (p,)."""
        # An image's positives come first among its RoIs.
        counts = torch.tensor([len(image.priors) for image in sampled])
        starts = (counts.cumsum(0) - counts).tolist()
        rows = torch.cat(
            [torch.arange(s, s + len(image.pos_priors)) for s, image in zip(starts, sampled, strict=True)]
        ).to(rois.device)
        labels = torch.cat([image.pos_gt_labels for image in sampled])
        if not len(rows):
            return logits.new_zeros(0), labels
        truth = torch.cat([get_box_tensor(image.pos_gt_bboxes) for image in sampled])
        score = logits[rows].float().softmax(dim=1)[torch.arange(len(rows)), labels]
        class_deltas = deltas[rows].float()
        if not self._head.reg_class_agnostic:
            class_deltas = class_deltas.view(len(rows), -1, 4)[torch.arange(len(rows)), labels]
        boxes = get_box_tensor(self._head.bbox_coder.decode(rois[rows, 1:].float(), class_deltas))
        overlap = bbox_overlaps(boxes, truth.float(), is_aligned=True)
        return score**_SCORE_EXPONENT * overlap.clamp(0, 1) ** (1 - _SCORE_EXPONENT), labels

    def _update(self, quality: Tensor, labels: Tensor) -> None:
        """Update the means of the classes that occur in a step, over all processes."""
        each = torch.stack([quality, torch.ones_like(quality)]).double()
        sums = each.new_zeros(2, len(self._mean)).index_add_(1, labels, each)
        all_reduce(sums)
        total, count = sums.cpu().numpy()
        present = count > 0
        step = total[present] / count[present]
        self._mean[present] = _MOMENTUM * self._mean[present] + (1 - _MOMENTUM) * step
