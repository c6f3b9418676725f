"""Losses of the student on unlabelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from al_loop.detector.self_training.teacher import PseudoLabels, Teacher, View

Losses = dict[str, Tensor]


def pseudo_label_losses(
    model: Any, maps: Sequence[Tensor], metas: Sequence[Mapping[str, Any]], labels: Sequence[PseudoLabels]
) -> Losses:
    """Return the losses of both stages on pseudo-labels. Only stable boxes are regressed to.

    model: the student.
    maps: its feature maps of the images.
    metas: mmdet's metadata of each image.
    Sources: Liu 2021 (Unbiased Teacher); Xu 2021 (Soft Teacher).
    """
    outputs = model.rpn_head(maps)
    losses = _first_stage(model, outputs, metas, labels)
    sampled, stable = [], []
    for proposals, each in zip(_proposals(model, outputs, metas), labels, strict=True):
        truth, ignored = (
            InstanceData(bboxes=each.boxes, labels=each.classes),
            InstanceData(bboxes=each.ignored),
        )
        assigned = model.roi_head.bbox_assigner.assign(proposals, truth, ignored)
        result = model.roi_head.bbox_sampler.sample(assigned, proposals, truth)
        sampled.append(result)
        stable += [each.stable[result.pos_assigned_gt_inds], each.stable.new_zeros(len(result.neg_inds))]
    rois = bbox2roi([result.priors for result in sampled])
    head, predicted = model.roi_head.bbox_head, model.roi_head._bbox_forward(maps, rois)
    *targets, weights = head.get_targets(sampled, model.roi_head.train_cfg)
    weights = weights * torch.cat(stable)[:, None]
    second = head.loss(predicted["cls_score"], predicted["bbox_pred"], rois, *targets, weights)
    return losses | {name: second[name] for name in ("loss_cls", "loss_bbox") if name in second}


def _first_stage(
    model: Any, outputs: Any, metas: Sequence[Mapping[str, Any]], labels: Sequence[PseudoLabels]
) -> Losses:
    """Return the losses of the RPN. A box that is not stable is ignored by its regression."""

    def loss(boxes: list[Tensor], ignored: list[Tensor]) -> dict[str, list[Tensor]]:
        truth = [
            InstanceData(bboxes=each, labels=each.new_zeros(len(each), dtype=torch.int64)) for each in boxes
        ]
        regions = [InstanceData(bboxes=each) for each in ignored]
        result: dict[str, list[Tensor]] = model.rpn_head.loss_by_feat(*outputs, truth, metas, regions)
        return result

    classified = regressed = loss([each.boxes for each in labels], [each.ignored for each in labels])
    if not all(each.stable.all() for each in labels):
        regressed = loss([each.boxes[each.stable] for each in labels], [each.ignored for each in labels])
    return {
        "loss_rpn_cls": torch.stack(classified["loss_rpn_cls"]).sum(),
        "loss_rpn_bbox": torch.stack(regressed["loss_rpn_bbox"]).sum(),
    }


def soft_losses(
    model: Any, maps: Sequence[Tensor], metas: Sequence[Mapping[str, Any]], teacher: Teacher, view: View
) -> Losses:
    """Return the cross-entropy between teacher and student, at the student's proposals and anchors.

    Each image counts as many proposals and anchors as a labelled image in training: the best proposals of the
    student, and the anchors with the highest objectness of teacher and student, half each.
    Source: Kay 2024 (ALDI++), section 3.3. Boxes are not regressed.
    """
    outputs = model.rpn_head(maps)
    limit = model.roi_head.bbox_sampler.num
    boxes = [each.priors[:limit] for each in _proposals(model, outputs, metas)]
    wanted = teacher.classify(view, boxes)
    predicted = model.roi_head._bbox_forward(maps, bbox2roi(boxes))["cls_score"]
    cross_entropy = -(wanted * log_softmax(predicted.float(), dim=1)).sum(dim=1).mean()
    objectness = _objectness_loss(outputs[0], teacher.objectness(view), model.rpn_head.sampler.num // 2)
    return {"loss_rpn_cls": objectness, "loss_cls": cross_entropy}


def _objectness_loss(logits: Sequence[Tensor], wanted: Sequence[Tensor], count: int) -> Tensor:
    """Return the binary cross-entropy of the student's logits, at `count` anchors that each of both prefers.

    logits, wanted: (n, anchors, h, w) of each level. The padding of one may be larger than that of the other.
    """
    pairs = [_common(*levels) for levels in zip(logits, wanted, strict=True)]
    student, teacher = (
        torch.cat([level.flatten(1) for level in side], dim=1) for side in zip(*pairs, strict=True)
    )
    count = min(count, student.shape[1])
    best = [side.topk(count, dim=1).indices for side in (student.detach(), teacher)]
    rows = torch.cat(best, dim=1)
    return binary_cross_entropy_with_logits(student.gather(1, rows).float(), teacher.gather(1, rows))


def _common(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    height, width = (min(first.shape[i], second.shape[i]) for i in (2, 3))
    return first[:, :, :height, :width], second[:, :, :height, :width]


def _proposals(model: Any, outputs: Any, metas: Sequence[Mapping[str, Any]]) -> list[InstanceData]:
    """Return the region proposals of each image in training, best first, in `priors`."""
    settings = model.train_cfg.get("rpn_proposal", model.test_cfg.rpn)
    found = model.rpn_head.predict_by_feat(*outputs, batch_img_metas=list(metas), cfg=settings)
    for each in found:
        each.priors = each.pop("bboxes")
    return list(found)
