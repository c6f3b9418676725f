"""How well each class is learnt, measured while a detector trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from mmengine.dist import all_reduce
from torch import Tensor

from al_loop.structures.boxes import FloatArray

#: Weight of the score against the overlap, and of the past against a step.
_SHARE, _MEMORY = 0.6, 0.99


class ClassQuality:
    """A running mean per class of p^0.6 IoU^0.4 over the positive RoIs of every step; 0 for a class never seen.

    p is the softmax of the true class, IoU that of the decoded box with the true one. It looks on at the loss of the
    box head while it is entered, and changes nothing.
    Source: Yang, Huang & Crowley 2024 (PPAL), eq. 2 and 3.
    """

    def __init__(self, model: Any) -> None:
        """Watch the box head of a two-stage detector."""
        self._head = model.roi_head.bbox_head
        self._mean = np.zeros(self._head.num_classes)

    def __enter__(self) -> ClassQuality:
        """Begin to watch."""
        self._real = self._head.loss_and_target
        self._head.loss_and_target = self._watched
        return self

    def __exit__(self, *_: object) -> None:
        """Watch no longer."""
        del self._head.loss_and_target  # the method of the class shows again

    @property
    def mean(self) -> FloatArray:
        """(C,) in [0, 1]."""
        return self._mean.copy()

    def _watched(
        self, cls_score: Tensor, bbox_pred: Tensor, rois: Tensor, sampling_results: Any, **rest: Any
    ) -> Any:
        self._remember(*self._look(cls_score.detach(), bbox_pred.detach(), rois, sampling_results))
        return self._real(
            cls_score=cls_score, bbox_pred=bbox_pred, rois=rois, sampling_results=sampling_results, **rest
        )

    @torch.no_grad()
    def _look(self, logits: Tensor, deltas: Tensor, rois: Tensor, sampled: Any) -> tuple[Tensor, Tensor]:
        """Return the quality of each positive RoI of this process, (p,), and its class, (p,)."""
        # An image's positives come first among its RoIs.
        counts = torch.tensor([len(one.priors) for one in sampled])
        starts = (counts.cumsum(0) - counts).tolist()
        rows = torch.cat(
            [torch.arange(s, s + len(one.pos_priors)) for s, one in zip(starts, sampled, strict=True)]
        ).to(rois.device)
        labels = torch.cat([one.pos_gt_labels for one in sampled])
        if not len(rows):
            return logits.new_zeros(0), labels
        truth = torch.cat([get_box_tensor(one.pos_gt_bboxes) for one in sampled])
        chance = logits[rows].float().softmax(dim=1)[torch.arange(len(rows)), labels]
        own = deltas[rows].float()
        if not self._head.reg_class_agnostic:
            own = own.view(len(rows), -1, 4)[torch.arange(len(rows)), labels]
        boxes = get_box_tensor(self._head.bbox_coder.decode(rois[rows, 1:].float(), own))
        overlap = bbox_overlaps(boxes, truth.float(), is_aligned=True)
        return chance**_SHARE * overlap.clamp(0, 1) ** (1 - _SHARE), labels

    def _remember(self, quality: Tensor, labels: Tensor) -> None:
        """Add a step to the mean of the classes that it shows, in whichever process."""
        each = torch.stack([quality, torch.ones_like(quality)]).double()
        sums = each.new_zeros(2, len(self._mean)).index_add_(1, labels, each)
        all_reduce(sums)
        total, count = sums.cpu().numpy()
        seen = count > 0
        step = total[seen] / count[seen]
        self._mean[seen] = _MEMORY * self._mean[seen] + (1 - _MEMORY) * step
