"""The loss of masks: boxes without an outline do not count."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from mmdet.structures.bbox import bbox2roi
from torch import Tensor
from torchvision.ops import roi_align

from al_loop.detector.inference.mask_pass import of_class
from al_loop.structures.masks import SIDE, THRESHOLD
from al_loop.structures.metrics import MetricName


def learn_masks(model: Any, metric: MetricName) -> None:
    """Let a model learn the masks that its boxes have. metric: what its validations are for.

    mmdet needs a mask of every box, cuts it out with a compiled operator of mmcv, and predicts masks of the
    size of the image, which would be gigabytes of a photograph.
    """
    if model.with_mask:
        # A partial, because a copy of the model then gets the copy of the head.
        model.roi_head.mask_loss = partial(mask_loss, model.roi_head)
        model.roi_head.predict_mask = partial(_predict, model.roi_head, metric)


def mask_loss(
    roi_head: Any, maps: Sequence[Tensor], sampled: Sequence[Any], _: Tensor, truth: Sequence[Any]
) -> dict[str, dict[str, Tensor]]:
    """Return the loss of the positive RoIs of boxes with a mask: 0 without any.

    maps: feature maps of each level.
    sampled: mmdet's SamplingResult of each image.
    truth: InstanceData of each image, whose `masks` (BitmapMasks) are all 0 for a box without a mask.
    """
    boxes, labels, targets = [], [], []
    for result, objects in zip(sampled, truth, strict=True):
        device = result.pos_priors.device
        known = torch.from_numpy(objects.masks.masks.any(axis=(1, 2))).to(device)
        rows = result.pos_assigned_gt_inds
        counts = known[rows]
        boxes.append(result.pos_priors[counts])
        labels.append(result.pos_gt_labels[counts])
        targets.append(mask_targets(objects.masks.masks, boxes[-1], rows[counts]))
    head = roi_head.mask_head
    logits = roi_head._mask_forward(maps, bbox2roi(boxes))["mask_preds"].float()
    classes = torch.cat(labels)
    if not len(classes):
        return {"loss_mask": {"loss_mask": logits.sum()}}  # 0, of which every parameter has a gradient
    columns = torch.zeros_like(classes) if head.class_agnostic else classes
    return {"loss_mask": {"loss_mask": head.loss_mask(logits, torch.cat(targets), columns)}}


@torch.no_grad()
def mask_targets(masks: Any, boxes: Tensor, rows: Tensor) -> Tensor:
    """Return whether at least half of each cell of a RoI belongs to its object, (p, SIDE, SIDE) float.

    masks: (n, h, w) uint8, 1 on the object.
    boxes: (p, 4) xyxy px.  rows: (p,) the mask of each.
    """
    height, width = masks.shape[1:]
    inside = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height])).float()
    pixels = torch.from_numpy(masks).to(boxes.device)[:, None].float()
    rois = torch.cat([rows[:, None].float(), inside], dim=1)
    covered: Tensor = roi_align(pixels, rois, SIDE, aligned=True)[:, 0]
    return (covered >= THRESHOLD).float()


def _predict(
    roi_head: Any,
    metric: MetricName,
    maps: Sequence[Tensor],
    metas: Sequence[dict[str, Any]],
    results: list[Any],
    rescale: bool = False,
) -> list[Any]:
    """Return boxes as mmdet's `predict_mask` does; with mask_ap, also their masks, (n, SIDE, SIDE)."""
    if metric == "mask_ap":
        logits = roi_head._mask_forward(maps, bbox2roi([each.bboxes for each in results]))["mask_preds"]
        labels = torch.cat([each.labels for each in results])
        masks = torch.split(of_class(roi_head.mask_head, logits, labels), [len(each) for each in results])
        for each, own in zip(results, masks, strict=True):
            each.masks = own
    for meta, each in zip(metas, results, strict=True):
        if rescale:
            each.bboxes = each.bboxes / each.bboxes.new_tensor(meta["scale_factor"]).repeat(2)
    return results
