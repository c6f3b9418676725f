"""mmdet's own steps from the pyramid to boxes, for models that `forward_pass` does not support."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.layers import multiclass_nms
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi, get_box_tensor
from torch import Tensor

from al_loop.detector.inference.forward_pass import Detections, Heads, classifier_inputs
from al_loop.detector.inference.mask_pass import boxes_with_image, of_class


def detect(
    model: Any, maps: Sequence[Tensor], count: int, size: tuple[int, int], score_thr: float
) -> tuple[Heads, Detections]:
    """Detect objects as `forward_pass.detect` does, in `count` images of (width, height) px."""
    shape = size[1], size[0]
    meta = {"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0)}
    samples = [DetDataSample(metainfo=meta) for _ in range(count)]
    proposals = [each.bboxes for each in model.rpn_head.predict(maps, samples, rescale=False)]
    head, rois = model.roi_head.bbox_head, bbox2roi(proposals)
    with classifier_inputs(head) as inputs:
        result = model.roi_head._bbox_forward(maps, rois)
    deltas = result["bbox_pred"].float()
    anchors = rois[:, 1:].repeat_interleave(deltas.shape[1] // 4, dim=0)
    decoded = get_box_tensor(head.bbox_coder.decode(anchors, deltas.view(-1, 4), max_shape=shape))
    distributions = torch.softmax(result["cls_score"].float(), dim=-1)
    counts = [len(boxes) for boxes in proposals]
    heads = Heads(decoded.view(len(rois), -1), distributions, inputs[0].float(), counts)
    return heads, _class_nms(model.roi_head.test_cfg, heads, score_thr)


def predict_masks(model: Any, maps: Sequence[Tensor], detections: Detections) -> Tensor:
    """Return the masks of boxes as `mask_pass.predict_masks` does."""
    logits = model.roi_head._mask_forward(maps, boxes_with_image(detections))["mask_preds"]
    return of_class(model.roi_head.mask_head, logits, detections.labels)


def _class_nms(settings: Any, heads: Heads, score_thr: float) -> Detections:
    """Return the boxes of each image that the model's NMS keeps."""
    classes, start, columns = heads.distributions.shape[1] - 1, 0, []
    for count in heads.counts:
        image = slice(start, start + count)
        boxes, labels, pairs = multiclass_nms(
            heads.boxes[image], heads.distributions[image], score_thr, settings.nms, settings.max_per_img,
            return_inds=True,
        )  # fmt: skip
        # `pairs` counts (proposal, class) pairs: the row of the proposal holds the whole distribution. Soft
        # NMS lowers the scores, the fifth column.
        columns.append((pairs // classes + start, labels, boxes[:, 4], boxes[:, :4]))
        start += count
    rows, labels, scores, xyxy = (torch.cat(column) for column in zip(*columns, strict=True))
    return Detections(rows, labels, scores, xyxy, [len(each[0]) for each in columns])
