"""The forward pass of a Faster R-CNN over a batch, without what mmdet does image by image.

mmdet's own prediction takes each image and each pyramid level by itself, from the proposals on. Here whatever is
the same for all images is one operation over the batch; only NMS goes image by image. In bf16 the convolutions and the
shared layers of the head run in half the precision, and everything that decides between boxes in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmcv.cnn import fuse_conv_bn
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.ops import nms

from al_loop.detector.inference.roi_align import roi_align
from al_loop.detector.inference.traced import not_supported
from al_loop.detector.transforms import Picture

#: What a copy may compute in.
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def prepare(model: nn.Module, precision: str) -> nn.Module:
    """Return a copy of a plain Faster R-CNN for `propose` and `classify`: batch norms folded, channels last, convolutions in
    that precision.

    The copy predicts what the model predicts, within rounding, and cannot be trained.
    """
    made: Any = fuse_conv_bn(deepcopy(model).eval())
    made = made.to(memory_format=torch.channels_last)
    for part in (made.backbone, made.neck, made.rpn_head, made.roi_head.bbox_head):
        part.to(PRECISIONS[precision])
    first, size = (
        made.roi_head.bbox_head.shared_fcs[0],
        made.roi_head.bbox_roi_extractor.roi_layers[0].output_size,
    )
    # What is cut out has its channels last here.
    by_place = first.weight.data.view(first.out_features, -1, *size).permute(0, 2, 3, 1)
    first.weight.data = by_place.reshape(first.out_features, -1).contiguous()
    for layer in (made.roi_head.bbox_head.fc_cls, made.roi_head.bbox_head.fc_reg):
        layer.float()
    return made  # type: ignore[no-any-return]


def is_plain(model: Any) -> bool:
    """Say whether the functions here know every part of a model."""
    head = model.roi_head.bbox_head
    only_shared = not any(
        getattr(head, name, 0)
        for name in ("num_shared_convs", "num_cls_convs", "num_cls_fcs", "num_reg_convs", "num_reg_fcs")
    )
    return not_supported(model) is None and only_shared and bool(getattr(head, "shared_fcs", None))


def normalised(model: Any, pictures: Sequence[Picture], device: torch.device) -> Tensor:
    """Return pictures (h, w, 3) of one size as the network takes them, (n, 3, H, W), padded: `DetDataPreprocessor`."""
    before = model.data_preprocessor
    batch = torch.from_numpy(np.stack(pictures)).to(device).permute(0, 3, 1, 2)
    if before._channel_conversion:
        batch = batch[:, [2, 1, 0]]
    batch = batch.float()
    if before._enable_normalize:
        batch = (batch - before.mean) / before.std
    height, width = batch.shape[-2:]
    bottom, right = (-side % before.pad_size_divisor for side in (height, width))
    if bottom or right:
        batch = pad(batch, (0, right, 0, bottom), value=float(before.pad_value))
    return batch.to(next(model.backbone.parameters()).dtype).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, eq=False)
class Heads:
    """What the head says of the n proposals of a batch, those of an image next to each other.

    boxes: (n, 4) or (n, 4 C) xyxy px of the picture, clipped.  distributions: (n, C + 1), background last.
    seen: (n, r), the input of the classifier.  counts: proposals of each image.
    """

    boxes: Tensor
    distributions: Tensor
    seen: Tensor
    counts: list[int]


def propose(model: Any, maps: Sequence[Tensor], height: int, width: int) -> list[Tensor]:
    """Return the region proposals of each image, (p, 4) xyxy px, best first: `RPNHead.predict`."""
    head, settings = model.rpn_head, model.rpn_head.test_cfg
    logits, regressed = head(maps)
    anchors = head.prior_generator.grid_priors([level.shape[-2:] for level in logits], device=maps[0].device)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    first = settings.get("nms_pre", -1)
    for level, shifts, priors in zip(logits, regressed, anchors, strict=True):
        ranked = level.permute(0, 2, 3, 1).reshape(len(level), -1).float()
        count = min(first, ranked.shape[1]) if first > 0 else ranked.shape[1]
        scores, order = ranked.topk(count, dim=1)
        by_place = shifts.permute(0, 2, 3, 1).reshape(len(level), -1, 4)
        deltas = by_place.gather(1, order[:, :, None].expand(-1, -1, 4))
        found.append((priors[order], deltas.float(), scores))
    sizes = [part[2].shape[1] for part in found]
    priors, deltas, scores = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
    boxes = head.bbox_coder.decode(priors.view(-1, 4), deltas.view(-1, 4), max_shape=(height, width))
    boxes = boxes.view(*priors.shape)
    smallest = float(settings.get("min_bbox_size", -1))
    smallest = smallest if smallest >= 0 else -math.inf
    return [
        _best(own, own_scores, sizes, settings, smallest)
        for own, own_scores in zip(boxes, scores.sigmoid(), strict=True)
    ]


def _best(boxes: Tensor, scores: Tensor, sizes: list[int], settings: Any, smallest: float) -> Tensor:
    """NMS within each level of one image, whose boxes come level by level, best first; then the best of all."""
    kept_boxes, kept_scores = [], []
    for level, level_scores in zip(torch.split(boxes, sizes), torch.split(scores, sizes), strict=True):
        solid = ((level[:, 2:] - level[:, :2]).amin(dim=1) > smallest).nonzero().squeeze(1)
        own, own_scores = level[solid], level_scores[solid]
        kept = nms(own, own_scores, float(settings.nms.iou_threshold))[: settings.max_per_img]
        kept_boxes.append(own[kept])
        kept_scores.append(own_scores[kept])
    together, ranks = torch.cat(kept_boxes), torch.cat(kept_scores)
    order = ranks.argsort(descending=True, stable=True)[: settings.max_per_img]
    return together[order]


def classify(
    model: Any, maps: Sequence[Tensor], proposals: Sequence[Tensor], height: int, width: int
) -> Heads:
    """Classify and refine the proposals of all images at once."""
    head, extractor = model.roi_head.bbox_head, model.roi_head.bbox_roi_extractor
    counts = [len(boxes) for boxes in proposals]
    images = torch.arange(len(counts), device=proposals[0].device)
    images = images.repeat_interleave(torch.tensor(counts, device=images.device), output_size=sum(counts))
    rois = torch.cat([images[:, None].to(proposals[0]), torch.cat(list(proposals))], dim=1)
    flat = _cut(extractor, maps, rois).flatten(1).to(head.shared_fcs[0].weight.dtype)
    for layer in head.shared_fcs:
        flat = torch.relu(layer(flat))
    seen = flat.float()
    deltas = head.fc_reg(seen)
    copies = deltas.shape[1] // 4
    boxes = head.bbox_coder.decode(
        rois[:, 1:].repeat_interleave(copies, dim=0), deltas.view(-1, 4), max_shape=(height, width)
    )
    return Heads(boxes.view(len(rois), 4 * copies), torch.softmax(head.fc_cls(seen), dim=-1), seen, counts)


def _cut(extractor: Any, maps: Sequence[Tensor], rois: Tensor) -> Tensor:
    """Return what RoIAlign cuts out for each RoI from the level of its size, (m, r, r, c)."""
    inputs = [level.float() for level in maps[: extractor.num_inputs]]
    levels = extractor.map_roi_levels(rois, extractor.num_inputs)
    size = extractor.roi_layers[0].output_size[0]
    found = rois.new_empty((len(rois), size, size, extractor.out_channels))
    for number, (level, layer) in enumerate(zip(inputs, extractor.roi_layers, strict=True)):
        own = (levels == number).nonzero().squeeze(1)
        if not len(own):
            continue
        if rois.is_cuda:
            cut = layer(level, rois[own]).permute(0, 2, 3, 1)
        else:
            cut = roi_align(
                level, rois[own], size, layer.spatial_scale, layer.sampling_ratio, aligned=layer.aligned
            )
        found[own] = cut
    return found


@dataclass(frozen=True, eq=False)
class Kept:
    """The m boxes that are kept, image by image, best first.

    rows: (m,) of `Heads`.  labels: (m,) classes.  boxes: (m, 4) xyxy px of the picture.  counts: boxes of each image.
    """

    rows: Tensor
    labels: Tensor
    boxes: Tensor
    counts: list[int]


def keep(model: Any, heads: Heads, score_thr: float, side: float) -> Kept:
    """Return what NMS keeps of each image, as mmdet's `multiclass_nms` does.

    side: no box is wider or higher, px.
    """
    settings, class_aware = model.roi_head.test_cfg, not model.roi_head.bbox_head.reg_class_agnostic
    chosen, start = [], 0
    rows, labels = (heads.distributions[:, :-1] > score_thr).nonzero(as_tuple=True)
    scores = heads.distributions[rows, labels]
    corners = heads.boxes.view(len(heads.boxes), -1, 4)[rows, labels if class_aware else labels * 0]
    # Classes are laid side by side: boxes of two of them never overlap.
    apart = corners + (labels * (side + 1.0))[:, None]
    ends = torch.searchsorted(rows, torch.tensor(heads.counts, device=rows.device).cumsum(0)).tolist()
    for end in ends:
        kept = start + nms(apart[start:end], scores[start:end], float(settings.nms.iou_threshold))
        chosen.append(kept[: settings.max_per_img] if settings.max_per_img > 0 else kept)
        start = end
    all_kept = torch.cat(chosen)
    return Kept(rows[all_kept], labels[all_kept], corners[all_kept], [len(kept) for kept in chosen])
