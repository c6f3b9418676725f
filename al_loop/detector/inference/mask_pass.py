"""The masks of the boxes that NMS keeps, of all images of a batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from al_loop.detector.inference.forward_pass import Detections
from al_loop.detector.roi_align import crops_by_level, is_supported, is_tracing
from al_loop.structures.masks import SIDE

#: Values of the largest feature map in memory at a time: 128 MiB. Fewer at a time are slower.
_VALUES = 2**25


def unsupported_part(roi_head: Any) -> str | None:
    """Describe the part of a mask head that this pass does not support. None if there is none."""
    if type(roi_head.mask_head).__name__ != "FCNMaskHead" or roi_head.share_roi_extractor:
        return "another mask head than FCNMaskHead with a RoI extractor of its own"
    if not is_supported(roi_head.mask_roi_extractor):
        return "another RoI extractor of its masks than SingleRoIExtractor with average RoIAlign"
    return None


def predict_masks(model: Any, maps: Sequence[Tensor], detections: Detections) -> Tensor:
    """Return the probability of the object in each cell of each box, (m, SIDE, SIDE).

    model: a fused copy with a mask head.
    maps: feature maps of the batch, of each level.
    """
    head, rois = model.roi_head, boxes_with_image(detections)
    if is_tracing():
        return _masks(head, maps, rois, detections.labels)
    count = max(1, _VALUES // (head.mask_head.conv_logits.in_channels * SIDE**2))
    parts = zip(torch.split(rois, count), torch.split(detections.labels, count), strict=True)
    return torch.cat([_masks(head, maps, *part) for part in parts])


def boxes_with_image(detections: Detections) -> Tensor:
    """Return the boxes as RoIs, (m, 5): the index of the image in the batch, and xyxy px."""
    counts, boxes = detections.counts, detections.boxes
    if len(counts) == 1:  # a trace must not freeze the count
        return torch.cat([torch.zeros_like(boxes[:, :1]), boxes], dim=1)
    image = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(boxes)
    return torch.cat([image[:, None], boxes], dim=1)


def _masks(roi_head: Any, maps: Sequence[Tensor], rois: Tensor, labels: Tensor) -> Tensor:
    crops, by_level = crops_by_level(roi_head.mask_roi_extractor, maps, rois)
    logits = roi_head.mask_head(crops.to(maps[0].dtype).permute(0, 3, 1, 2))
    return of_class(roi_head.mask_head, logits[by_level.argsort()], labels)


def of_class(head: Any, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the probabilities of the class of each box, (m, SIDE, SIDE).

    logits: (m, C, SIDE, SIDE), or (m, 1, SIDE, SIDE) of a head with one mask for all classes.
    labels: (m,).
    """
    columns = labels * 0 if head.class_agnostic else labels
    index = columns[:, None, None, None].expand(-1, 1, SIDE, SIDE)
    return logits.float().gather(1, index)[:, 0].sigmoid()
