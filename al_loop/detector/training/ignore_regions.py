"""Regions of a training image that nothing is learnt from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from torch import Tensor, nn

#: Share of a box inside a region from which it is ignored: as COCO's matching has it at IoU 0.50.
INSIDE = 0.5


class IgnoringAssigner:
    """An assigner that takes boxes inside ignore regions for neither positive nor negative.

    A box that a labelled object claims stays positive, inside a region too, as COCO's matching prefers objects to crowds.
    mmdet's own `ignore_iof_thr` would take it away, and with a region around all objects every one of them.
    """

    def __init__(self, assigner: Any) -> None:
        self._assigner = assigner

    def assign(
        self, pred_instances: Any, gt_instances: Any, gt_instances_ignore: Any = None, **rest: Any
    ) -> Any:
        """Return mmdet's AssignResult, with -1 for what is ignored."""
        found = self._assigner.assign(pred_instances, gt_instances, None, **rest)
        if gt_instances_ignore is not None and len(gt_instances_ignore.bboxes) and len(found.gt_inds):
            boxes = get_box_tensor(pred_instances.priors)
            regions = get_box_tensor(gt_instances_ignore.bboxes).to(boxes)
            inside = bbox_overlaps(boxes, regions, mode="iof").amax(dim=1) >= INSIDE
            found.gt_inds[inside.to(found.gt_inds.device) & (found.gt_inds == 0)] = -1
        return found


@TRANSFORMS.register_module()
class OpenRegions(BaseTransform):  # type: ignore[misc]
    """Let ignore regions that reach an edge of the image go on outside of it, as the anchors there do.

    Of an anchor that lies mostly outside the image less than half could be in any region otherwise.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change those of `gt_bboxes` that have a flag in `gt_ignore_flags`."""
        flags = torch.as_tensor(np.asarray(results["gt_ignore_flags"], dtype=bool))
        if flags.any():
            boxes = results["gt_bboxes"].tensor
            boxes[flags] = opened(boxes[flags], results["img_shape"])
        return results


def opened(regions: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return xyxy regions (n, 4) of an image (height, width), those at its edges far larger than any anchor there."""
    height, width = shape
    far = 16 * max(height, width)
    low, high = regions[:, :2], regions[:, 2:]
    low = torch.where(low < 1, low.new_tensor(-far), low)
    high = torch.where(high > high.new_tensor([width - 1, height - 1]), high.new_tensor(far), high)
    return torch.cat([low, high], dim=1)


def ignore_regions(model: nn.Module) -> None:
    """Make both stages of a detector learn nothing inside the ignore regions of its training images."""
    heads: Any = model
    heads.rpn_head.assigner = IgnoringAssigner(heads.rpn_head.assigner)
    heads.roi_head.bbox_assigner = IgnoringAssigner(heads.roi_head.bbox_assigner)
