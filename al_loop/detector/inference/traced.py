"""A Faster R-CNN as one graph of tensor operations, from a picture's bytes to its boxes.

mmdet's own predict functions cannot be traced: they skip pyramid levels without proposals and images
without boxes by Python branches, which a trace freezes as they fell for the traced picture. Here every
count is a size inside the graph, so that a trace holds for every picture. `al_loop.detector.export.export`
checks that it says what `predict` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.ops import nms, roi_align

from al_loop.core.errors import ModelError

# A box is at most 1000/16 times as wide or as high as the box it was decoded from (mmdet's wh_ratio_clip).
_MAX_LOG_RATIO = abs(log(16 / 1000))


class DetectionGraph(nn.Module):
    """Forward: `image`, (1, 3, height, width) uint8 BGR -> boxes, scores, labels, best score first.

    boxes: (n, 4) float32 xyxy pixels of the input; scores: (n,) float32 in [0, 1]; labels: (n,) int64.
    model: an mmdet Faster R-CNN on the CPU, whose parts are shared.  size: (width, height) px of the input.
    score_thr: boxes at or below it are left out.  Raises ModelError for a model with other parts.
    """

    def __init__(self, model: Any, size: tuple[int, int], score_thr: float) -> None:
        super().__init__()
        if reason := not_supported(model):
            raise ModelError(f"only a plain Faster R-CNN can be exported: this model has {reason}")
        self.model = model
        self.width, self.height = size
        self.score_thr = score_thr
        divisor = model.data_preprocessor.pad_size_divisor
        self.padding = tuple(ceil(side / divisor) * divisor - side for side in size)
        with torch.no_grad():
            maps = self._maps(torch.zeros((1, 3, self.height, self.width), dtype=torch.uint8))
        sizes = [tuple(level.shape[-2:]) for level in maps]
        anchors = model.rpn_head.prior_generator.grid_priors(sizes, device=maps[0].device)
        self.counts = [len(boxes) for boxes in anchors]
        for level, boxes in enumerate(anchors):
            self.register_buffer(f"anchors_{level}", boxes, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (n, 4), scores (n,) and labels (n,) of a picture."""
        maps = self._maps(image)
        return self._boxes(maps, self._proposals(maps))

    def _maps(self, image: Tensor) -> Sequence[Tensor]:
        """Normalise and pad as the model's data_preprocessor does, and compute the pyramid."""
        before = self.model.data_preprocessor
        if before._channel_conversion:
            image = image[:, [2, 1, 0]]
        image = image.float()
        if before._enable_normalize:
            image = (image - before.mean) / before.std
        if any(self.padding):
            image = pad(image, (0, self.padding[0], 0, self.padding[1]), value=float(before.pad_value))
        maps: Sequence[Tensor] = self.model.extract_feat(image)
        return maps

    def _proposals(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the region proposals, (p, 4) xyxy px, best first: `RPNHead.predict`."""
        head = self.model.rpn_head
        settings = head.test_cfg
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for level, (logits, regressed) in enumerate(zip(*head(maps), strict=True)):
            anchors = self.get_buffer(f"anchors_{level}")
            scores = logits[0].permute(1, 2, 0).reshape(-1).sigmoid()
            deltas = regressed[0].permute(1, 2, 0).reshape(-1, 1, 4)
            if 0 < settings.get("nms_pre", -1) < self.counts[level]:
                # Not topk: places that look alike, as padding does, have equal scores, and of those `sort`
                # and ONNX's operators take the first, as mmdet does.
                ranked, order = scores.sort(descending=True)
                scores, best = ranked[: settings.nms_pre], order[: settings.nms_pre]
                anchors, deltas = anchors[best], deltas[best]
            boxes = self._decode(head.bbox_coder, anchors, deltas)[:, 0]
            found.append((boxes, scores, torch.full_like(scores, level)))
        boxes, scores, levels = (torch.cat(parts) for parts in zip(*found, strict=True))
        smallest = settings.get("min_bbox_size", -1)
        if smallest >= 0:
            sides = boxes[:, 2:] - boxes[:, :2]
            solid = (sides > smallest).all(dim=1).nonzero().squeeze(1)
            boxes, scores, levels = boxes[solid], scores[solid], levels[solid]
        return boxes[self._nms(boxes, scores, levels, settings)]

    def _boxes(self, maps: Sequence[Tensor], proposals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Classify and refine the proposals: what `predict` does after them."""
        head, settings = self.model.roi_head.bbox_head, self.model.roi_head.test_cfg
        logits, deltas = head(self._pool(maps, proposals))
        distributions = logits.softmax(dim=1)
        decoded = self._decode(head.bbox_coder, proposals, deltas.reshape(-1, deltas.shape[1] // 4, 4))
        candidates = (distributions[:, :-1] > self.score_thr).nonzero()
        rows, labels = candidates[:, 0], candidates[:, 1]
        scores = distributions[rows, labels]
        boxes = decoded[rows, labels * 0 if head.reg_class_agnostic else labels]
        kept = self._nms(boxes, scores, labels.to(scores.dtype), settings)
        boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
        solid = (boxes[:, 2:] > boxes[:, :2]).all(dim=1).nonzero().squeeze(1)
        return boxes[solid], scores[solid], labels[solid]

    def _pool(self, maps: Sequence[Tensor], proposals: Tensor) -> Tensor:
        """Return what RoIAlign cuts out for each proposal, (p, d, r, r), from the level of its size."""
        extractor = self.model.roi_head.bbox_roi_extractor
        # The first column is the index of the image in the batch: always 0.
        rois = torch.cat([proposals[:, :1] * 0, proposals], dim=1)
        levels = extractor.map_roi_levels(rois, extractor.num_inputs)
        rows, cut = [], []
        for index, layer in enumerate(extractor.roi_layers):
            rows.append((levels == index).nonzero().squeeze(1))
            shape = (layer.output_size, layer.spatial_scale, layer.sampling_ratio, layer.aligned)
            cut.append(roi_align(maps[index], rois[rows[-1]], *shape))
        # Back from level by level to the order of the proposals, which decides between equal scores.
        return torch.cat(cut)[torch.cat(rows).argsort()]

    def _decode(self, coder: Any, boxes: Tensor, deltas: Tensor) -> Tensor:
        """Shift and scale boxes, (n, 4) xyxy px, by deltas, (n, k, 4); clipped to the picture, (n, k, 4).

        Source: Girshick 2014, appendix C, with the coder's means and standard deviations.
        """
        dx, dy, dw, dh = (deltas[..., i] * coder.stds[i] + coder.means[i] for i in range(4))
        low, high = boxes[:, None, :2], boxes[:, None, 2:]
        middle, side = (low + high) * 0.5, high - low
        x = middle[..., 0] + side[..., 0] * dx
        y = middle[..., 1] + side[..., 1] * dy
        half_w = side[..., 0] * dw.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp() * 0.5
        half_h = side[..., 1] * dh.clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp() * 0.5
        xs = [edge.clamp(0, self.width) for edge in (x - half_w, x + half_w)]
        ys = [edge.clamp(0, self.height) for edge in (y - half_h, y + half_h)]
        return torch.stack([xs[0], ys[0], xs[1], ys[1]], dim=-1)

    def _nms(self, boxes: Tensor, scores: Tensor, groups: Tensor, settings: Any) -> Tensor:
        """Return the indices that NMS keeps within each group, best first, at most max_per_img.

        boxes: (n, 4) xyxy px inside the picture; scores, groups: (n,).
        """
        # Groups are laid side by side: boxes of two of them never overlap. The distance is a constant, as
        # the largest coordinate, which mmcv takes, does not exist where there is no box.
        apart = boxes + (groups * (max(self.width, self.height) + 1))[:, None]
        kept: Tensor = nms(apart, scores, float(settings.nms.iou_threshold))
        return kept[: settings.max_per_img] if settings.max_per_img > 0 else kept


def not_supported(model: Any) -> str | None:
    """Return the part of a model that the graph does not know, in words."""
    rpn, roi = model.rpn_head, model.roi_head
    for head, name in ((rpn, "RPN"), (roi.bbox_head, "box head")):
        coder = head.bbox_coder
        if type(coder).__name__ != "DeltaXYWHBBoxCoder" or not coder.clip_border or coder.add_ctr_clamp:
            return f"another box coder in its {name} than DeltaXYWHBBoxCoder, clipping to the image"
    for settings, name in ((rpn.test_cfg, "RPN"), (roi.test_cfg, "box head")):
        strange = set(settings.nms) - {"type", "iou_threshold", "split_thr"}
        if settings.nms.get("type", "nms") != "nms" or strange:
            return f"another NMS in its {name} than plain NMS within each class"
    if not rpn.use_sigmoid_cls:
        return "an RPN with softmax in place of sigmoid"
    extractor = roi.bbox_roi_extractor
    plain = all(getattr(layer, "pool_mode", "") == "avg" for layer in extractor.roi_layers)
    if type(extractor).__name__ != "SingleRoIExtractor" or not plain or extractor.num_inputs < 2:
        return "another RoI extractor than SingleRoIExtractor with average RoIAlign"
    return "a shared head between RoIAlign and the box head" if roi.with_shared_head else None
