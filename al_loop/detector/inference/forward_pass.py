"""The forward pass of a Faster R-CNN over a batch, for scoring, evaluation and export.

mmdet's own prediction takes each image and each pyramid level separately. It skips empty ones by Python
branches, which a trace would freeze. Here each step is one operation over the batch, and only NMS runs image
by image. Every count is a size inside the graph, so that a trace of one image holds for every image. In bf16
the convolutions and the shared layers of the head run in bfloat16. Scores and boxes are computed in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from math import inf, log
from typing import Any

import torch
from mmcv.cnn import fuse_conv_bn
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.ops import nms

from al_loop.detector.backbones.timm_backbone import TimmBackbone
from al_loop.detector.roi_align import crops_by_level, is_supported, is_tracing

#: The precisions of a fused copy.
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
# A box is at most 1000/16 times as wide or as high as the box it was decoded from (mmdet's wh_ratio_clip).
_MAX_LOG_RATIO = abs(log(16 / 1000))


def unsupported_part(model: Any) -> str | None:
    """Describe the first part of a model that this forward pass does not support. None if there is none."""
    rpn, roi = model.rpn_head, model.roi_head
    for head, name in ((rpn, "RPN"), (roi.bbox_head, "box head")):
        coder = head.bbox_coder
        if type(coder).__name__ != "DeltaXYWHBBoxCoder" or not coder.clip_border or coder.add_ctr_clamp:
            return f"another box coder in its {name} than DeltaXYWHBBoxCoder, clipping to the image"
    for settings, name in ((rpn.test_cfg, "RPN"), (roi.test_cfg, "box head")):
        unknown = set(settings.nms) - {"type", "iou_threshold", "split_thr"}
        if settings.nms.get("type", "nms") != "nms" or unknown:
            return f"another NMS in its {name} than plain NMS within each class"
    if not rpn.use_sigmoid_cls:
        return "an RPN with softmax in place of sigmoid"
    if not is_supported(roi.bbox_roi_extractor):
        return "another RoI extractor than SingleRoIExtractor with average RoIAlign"
    return "a shared head between RoIAlign and the box head" if roi.with_shared_head else None


def fuse(model: nn.Module, precision: str) -> nn.Module:
    """Return a copy of a supported model for this pass: fused batch norms, channels last, given precision.

    precision: that of the convolutions and the shared layers of the head.
    The copy predicts what the model predicts, within rounding. It cannot be trained.
    """
    copy: Any = deepcopy(model).eval()
    if isinstance(copy.backbone, TimmBackbone):
        copy.backbone.fuse()  # mmcv would lose the activations that timm's batch norms include
    fuse_conv_bn(copy)
    copy = copy.to(memory_format=torch.channels_last)
    head = copy.roi_head.bbox_head
    for part in (copy.backbone, copy.neck, copy.rpn_head, copy.roi_head):
        part.to(PRECISIONS[precision])
    for layer in (head.fc_cls, head.fc_reg):
        layer.float()
        layer.register_forward_pre_hook(lambda _, inputs: tuple(value.float() for value in inputs))
    head.channels_last = _flattens_first(head)
    if head.channels_last:
        size, first = copy.roi_head.bbox_roi_extractor.roi_layers[0].output_size, head.shared_fcs[0]
        weight = first.weight.data.view(first.out_features, -1, *size).permute(0, 2, 3, 1)
        first.weight.data = weight.reshape(first.out_features, -1).contiguous()
    return copy  # type: ignore[no-any-return]


def _flattens_first(head: Any) -> bool:
    """Return whether a head flattens its input first. Its first weights can then be permuted."""
    before = ("num_shared_convs", "num_cls_convs", "num_reg_convs", "with_avg_pool")
    return bool(getattr(head, "shared_fcs", None)) and not any(getattr(head, name, 0) for name in before)


def normalise(model: Any, images: Tensor) -> Tensor:
    """Normalise and pad images (n, 3, h, w), uint8 BGR, as `DetDataPreprocessor` does."""
    options = model.data_preprocessor
    if options._channel_conversion:
        images = images[:, [2, 1, 0]]
    batch = images.float()
    if options._enable_normalize:
        batch = (batch - options.mean) / options.std
    bottom, right = (-int(side) % options.pad_size_divisor for side in batch.shape[-2:])
    if bottom or right:
        batch = pad(batch, (0, right, 0, bottom), value=float(options.pad_value))
    return batch


def anchors_of(model: Any, maps: Sequence[Tensor]) -> list[Tensor]:
    """Return the anchors of each level, (a, 4) xyxy px."""
    sizes = [tuple(level.shape[-2:]) for level in maps]
    anchors: list[Tensor] = model.rpn_head.prior_generator.grid_priors(sizes, device=maps[0].device)
    return anchors


def detect(
    model: Any, maps: Sequence[Tensor], anchors: Sequence[Tensor], size: tuple[int, int], score_thr: float
) -> tuple[Heads, Detections]:
    """Return the output of the box head for the proposals of all images, and the boxes that NMS keeps.

    size: (width, height) px of the images without padding.
    score_thr: boxes with a score at or below it are dropped.
    """
    heads = classify(model, maps, propose(model, maps, anchors, size), size)
    return heads, class_nms(model, heads, score_thr, size)


def propose(
    model: Any, maps: Sequence[Tensor], anchors: Sequence[Tensor], size: tuple[int, int]
) -> list[Tensor]:
    """Return the region proposals of each image, (p, 4) xyxy px, best first: `RPNHead.predict`."""
    head, settings = model.rpn_head, model.rpn_head.test_cfg
    limit = settings.get("nms_pre", -1)
    levels: list[tuple[Tensor, Tensor]] = []
    for logits, regressed, boxes in zip(*head(maps), anchors, strict=True):
        scores = logits.permute(0, 2, 3, 1).flatten(1).float().sigmoid()
        all_deltas = regressed.permute(0, 2, 3, 1).reshape(scores.shape[0], -1, 4)
        count = int(boxes.shape[0])
        scores, order = _top_k(scores, min(limit, count) if limit > 0 else count)
        deltas = all_deltas.gather(1, order[:, :, None].expand(-1, -1, 4)).float()
        levels.append((_decode(head.bbox_coder, boxes[order], deltas, size), scores))
    images = range(maps[0].shape[0])
    return [_level_nms([(boxes[i], scores[i]) for boxes, scores in levels], settings) for i in images]


def _top_k(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` largest scores of each row of (n, p), and their columns. Equal scores stay in order.

    Identical regions, such as padding, have equal scores. mmdet and ONNX take the first of these.
    """
    if is_tracing():
        ordered, columns = scores.sort(dim=1, descending=True)
        return ordered[:, :count], columns[:, :count]
    values, columns = scores.topk(count, dim=1)  # ten to a hundred times as fast as sorting all scores
    last = values[:, -1:]
    equal = scores == last
    if equal.sum() > (values == last).sum():  # topk chose arbitrarily among the smallest scores
        missing = count - (scores > last).sum(dim=1, keepdim=True)
        columns = ((scores > last) | (equal & (equal.cumsum(dim=1) <= missing))).nonzero()[:, 1]
    columns = columns.view(len(scores), count).sort(dim=1).values
    values, order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


def _level_nms(levels: Sequence[tuple[Tensor, Tensor]], settings: Any) -> Tensor:
    """Return the boxes of one image after NMS within each level, best first.

    levels: boxes (k, 4) and scores (k,) of each, best first.
    """
    limit, min_size = settings.max_per_img, float(settings.get("min_bbox_size", -1))
    min_size = min_size if min_size >= 0 else -inf
    best_boxes, best_scores = [], []
    for all_boxes, all_scores in levels:
        non_empty = ((all_boxes[:, 2:] - all_boxes[:, :2]).amin(dim=1) > min_size).nonzero()[:, 0]
        boxes, scores = all_boxes[non_empty], all_scores[non_empty]
        best = nms(boxes, scores, float(settings.nms.iou_threshold))[:limit]
        best_boxes.append(boxes[best])
        best_scores.append(scores[best])
    order = torch.cat(best_scores).sort(descending=True).indices[:limit]
    return torch.cat(best_boxes)[order]


@dataclass(frozen=True, eq=False)
class Heads:
    """The output of the box head for the n proposals of a batch, image after image.

    boxes: (n, 4) or (n, 4 C) xyxy px of the resized image, clipped.
    distributions: (n, C + 1) softmax, background last.
    features: (n, r), the input of the classifier.
    counts: proposals of each image.
    """

    boxes: Tensor
    distributions: Tensor
    features: Tensor
    counts: list[int]


def classify(model: Any, maps: Sequence[Tensor], proposals: Sequence[Tensor], size: tuple[int, int]) -> Heads:
    """Classify and refine the proposals of all images at once."""
    head, extractor = model.roi_head.bbox_head, model.roi_head.bbox_roi_extractor
    rois = torch.cat([torch.cat([torch.full_like(b[:, :1], i), b], dim=1) for i, b in enumerate(proposals)])
    crops, by_level = crops_by_level(extractor, maps, rois)
    crops = crops.to(maps[0].dtype)
    with classifier_inputs(head) as features:
        logits, deltas = head(crops if head.channels_last else crops.permute(0, 3, 1, 2))
    deltas = deltas.reshape(deltas.shape[0], -1, 4)
    boxes = _decode(head.bbox_coder, rois[by_level, None, 1:], deltas, size).flatten(1)
    # Restore the order of the proposals in the output of the head, which is smaller than the crops.
    order = by_level.argsort()
    distributions = torch.softmax(logits, dim=-1)
    counts = [len(of_image) for of_image in proposals]
    return Heads(boxes[order], distributions[order], features[0][order], counts)


@contextmanager
def classifier_inputs(head: Any) -> Iterator[list[Tensor]]:
    """Yield a list to which the inputs of the classifier of a box head are appended."""
    inputs: list[Tensor] = []
    hook = head.fc_cls.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    try:
        yield inputs
    finally:
        hook.remove()


def _decode(coder: Any, boxes: Tensor, deltas: Tensor, size: tuple[int, int]) -> Tensor:
    """Shift and scale boxes (..., 4) xyxy px by deltas (..., 4), and clip them to (width, height) px.

    Source: Girshick 2014, appendix C, with the coder's means and standard deviations.
    """
    dx, dy, dw, dh = (deltas[..., i] * coder.stds[i] + coder.means[i] for i in range(4))
    middle, side = (boxes[..., :2] + boxes[..., 2:]) * 0.5, boxes[..., 2:] - boxes[..., :2]
    x = middle[..., 0] + side[..., 0] * dx
    y = middle[..., 1] + side[..., 1] * dy
    half_w = side[..., 0] * dw.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp() * 0.5
    half_h = side[..., 1] * dh.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp() * 0.5
    edges = ((x - half_w, size[0]), (y - half_h, size[1]), (x + half_w, size[0]), (y + half_h, size[1]))
    return torch.stack([edge.clamp(0, limit) for edge, limit in edges], dim=-1)


@dataclass(frozen=True, eq=False)
class Detections:
    """The m boxes that NMS keeps, image after image, best first.

    rows: (m,) row of each box in `Heads`.
    labels, scores: (m,) class and score.
    boxes: (m, 4) xyxy px of the resized image.
    counts: boxes of each image.
    """

    rows: Tensor
    labels: Tensor
    scores: Tensor
    boxes: Tensor
    counts: list[int]


def class_nms(model: Any, heads: Heads, score_thr: float, size: tuple[int, int]) -> Detections:
    """Return the boxes of each image after NMS within each class, like mmdet's `multiclass_nms`."""
    settings, shared_boxes = model.roi_head.test_cfg, model.roi_head.bbox_head.reg_class_agnostic
    rows, labels = (heads.distributions[:, :-1] > score_thr).nonzero().unbind(1)
    scores = heads.distributions[rows, labels]
    all_boxes = heads.boxes.reshape(heads.boxes.shape[0], -1, 4)
    boxes = all_boxes[rows, labels * 0 if shared_boxes else labels]
    # Shift the classes side by side, so that boxes of different classes never overlap.
    shifted = boxes + (labels * (max(size) + 1.0))[:, None]
    parts, start = [], 0
    for end in _ends(rows, heads.counts):
        image = slice(start, end)
        best = nms(shifted[image], scores[image], float(settings.nms.iou_threshold))
        best = best[: settings.max_per_img] if settings.max_per_img > 0 else best
        parts.append(best + start if start else best)
        start = end or 0
    order = torch.cat(parts)
    return Detections(rows[order], labels[order], scores[order], boxes[order], [len(part) for part in parts])


def _ends(rows: Tensor, counts: Sequence[int]) -> list[int | None]:
    """Return the end row of each image's candidates. None for a single image: a trace must not freeze it."""
    if len(counts) == 1:
        return [None]
    totals = torch.tensor(counts, device=rows.device).cumsum(0)
    return list(torch.searchsorted(rows, totals).tolist())
