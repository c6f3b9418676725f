"""mmdet's own steps from the pyramid to boxes, for models that `forward_pass` does not support."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.layers import multiclass_nms
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi, get_box_tensor
from torch import Tensor

from al_loop.detector.inference.forward_pass import Heads, Kept


def propose(model: Any, maps: Sequence[Tensor], count: int, size: tuple[int, int]) -> list[Tensor]:
    """Return the region proposals of `count` images, (p, 4) xyxy px; size: their (width, height) px."""
    shape = {"img_shape": (size[1], size[0]), "ori_shape": (size[1], size[0]), "scale_factor": (1.0, 1.0)}
    samples = [DetDataSample(metainfo=shape) for _ in range(count)]
    return [found.bboxes for found in model.rpn_head.predict(maps, samples, rescale=False)]


def classify(model: Any, maps: Sequence[Tensor], proposals: Sequence[Tensor], size: tuple[int, int]) -> Heads:
    """Run the box head on the proposals of all images."""
    head, rois = model.roi_head.bbox_head, bbox2roi(list(proposals))
    inputs: list[Tensor] = []
    hook = head.fc_cls.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    try:
        result = model.roi_head._bbox_forward(maps, rois)
    finally:
        hook.remove()
    distributions = torch.softmax(result["cls_score"].float(), dim=-1)
    deltas = result["bbox_pred"].float()
    copies = deltas.shape[1] // 4
    boxes = get_box_tensor(
        head.bbox_coder.decode(
            rois[:, 1:].repeat_interleave(copies, dim=0), deltas.view(-1, 4), max_shape=(size[1], size[0])
        )
    )
    return Heads(boxes.view(len(rois), -1), distributions, inputs[0].float(), [len(p) for p in proposals])


def keep(model: Any, heads: Heads, score_thr: float) -> Kept:
    """Return the boxes that the model's NMS keeps of each image."""
    settings, classes, start = model.roi_head.test_cfg, heads.distributions.shape[1] - 1, 0
    rows, labels, boxes, counts = [], [], [], list[int]()
    for count in heads.counts:
        image = slice(start, start + count)
        kept_boxes, kept_labels, pairs = multiclass_nms(
            heads.boxes[image], heads.distributions[image], score_thr, settings.nms, settings.max_per_img,
            return_inds=True,
        )  # fmt: skip
        # `pairs` counts (proposal, class) pairs: the row of the proposal holds the whole distribution.
        rows.append(pairs // classes + start)
        labels.append(kept_labels)
        boxes.append(kept_boxes)
        counts.append(len(pairs))
        start += count
    scored = torch.cat(boxes)  # the fifth column: soft NMS lowers scores
    return Kept(torch.cat(rows), torch.cat(labels), scored[:, 4], scored[:, :4], counts)
