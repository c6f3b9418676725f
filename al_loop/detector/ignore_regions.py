"""Ignore regions of training images: anchors and RoIs inside a region are neither positive nor negative."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from torch import Tensor, nn

#: A box is ignored if at least this share of it lies in a region, as in COCO's matching at IoU 0.50.
MIN_SHARE_INSIDE = 0.5


class IgnoringAssigner:
    """An assigner that ignores boxes inside ignore regions.

    It also ignores a box whose IoU with a region would be too large for a negative box of an object.
    A box assigned to a labelled object stays positive inside a region, as COCO's matching prefers objects to
    crowds. mmdet's own `ignore_iof_thr` would ignore it too: with a region around all objects, no positive
    box would be left.
    """

    def __init__(self, assigner: Any) -> None:
        self._assigner = assigner
        negative = getattr(assigner, "neg_iou_thr", MIN_SHARE_INSIDE)  # mmdet also takes a range
        self._least_iou = max(negative) if isinstance(negative, tuple | list) else negative

    def assign(
        self, pred_instances: Any, gt_instances: Any, gt_instances_ignore: Any = None, **rest: Any
    ) -> Any:
        """Return mmdet's AssignResult, with -1 for ignored boxes."""
        assigned = self._assigner.assign(pred_instances, gt_instances, None, **rest)
        if gt_instances_ignore is not None and len(gt_instances_ignore.bboxes) and len(assigned.gt_inds):
            boxes = get_box_tensor(pred_instances.priors)
            regions = get_box_tensor(gt_instances_ignore.bboxes).to(boxes)
            inside = bbox_overlaps(boxes, regions, mode="iof").amax(dim=1) >= MIN_SHARE_INSIDE
            inside |= bbox_overlaps(boxes, regions).amax(dim=1) >= self._least_iou
            assigned.gt_inds[inside.to(assigned.gt_inds.device) & (assigned.gt_inds == 0)] = -1
        return assigned


@TRANSFORMS.register_module()
class ExtendRegions(BaseTransform):  # type: ignore[misc]
    """Extend ignore regions at an edge of the image far beyond it.

    An anchor that lies mostly outside the image would otherwise have less than half of its area in any
    region.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Extend the rows of `gt_bboxes` that `gt_ignore_flags` marks."""
        flags = torch.as_tensor(np.asarray(results["gt_ignore_flags"], dtype=bool))
        if flags.any():
            boxes = results["gt_bboxes"].tensor
            boxes[flags] = extend_regions(boxes[flags], results["img_shape"])
        return results


def extend_regions(regions: Tensor, shape: tuple[int, int]) -> Tensor:
    """Extend regions beyond the image edges that they touch, by more than the size of any anchor.

    regions: (n, 4) xyxy in px.
    shape: height and width of the image in px.
    """
    height, width = shape
    far = 16 * max(height, width)
    low, high = regions[:, :2], regions[:, 2:]
    low = torch.where(low < 1, low.new_tensor(-far), low)
    high = torch.where(high > high.new_tensor([width - 1, height - 1]), high.new_tensor(far), high)
    return torch.cat([low, high], dim=1)


def ignore_regions(model: nn.Module) -> None:
    """Make both stages of a detector respect the ignore regions of its training images."""
    heads: Any = model
    heads.rpn_head.assigner = IgnoringAssigner(heads.rpn_head.assigner)
    heads.roi_head.bbox_assigner = IgnoringAssigner(heads.roi_head.bbox_assigner)
