"""RoIAlign: torchvision's on a GPU, and sums over rows of the feature map on a CPU.

torchvision's CPU code handles one channel after another on one core. Every value of RoIAlign is a weighted
sum of a few cells of the map, with the same weights in all channels. `embedding_bag` computes such sums on
several cores where the channels of a cell are adjacent in memory. It is nine times as fast on two cores
(benchmarks/scoring.py), and equal within rounding.
Source: He 2017 (Mask R-CNN), section 3; half-pixel corrected as in Detectron2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import torch
import torchvision
from torch import Tensor
from torch.nn.functional import embedding_bag

_VALUES = 4_000_000  # weights in memory at a time: 50 MB with their indices


def roi_align(maps: Sequence[Tensor], rois: Sequence[Tensor], layers: Sequence[Any]) -> Tensor:
    """Return the crops of all RoIs, level by level: (m, r, r, c).

    maps: (n, c, h, w) of each level. Channels last is faster on a CPU.
    rois: (k, 5) of each level, the index of the image in the batch and xyxy px of the image.
    layers: mmcv's RoIAlign of each level, whose options are used.
    """
    if rois[0].is_cuda or is_tracing():
        options = [(at.output_size, at.spatial_scale, at.sampling_ratio, at.aligned) for at in layers]
        crops = [
            torchvision.ops.roi_align(level, boxes, *layer)
            for level, boxes, layer in zip(maps, rois, options, strict=True)
        ]
        return torch.cat(crops).permute(0, 2, 3, 1)
    side, ends = layers[0].output_size[0], list(accumulate(len(boxes) for boxes in rois))
    out = rois[0].new_empty((ends[-1], side, side, maps[0].shape[1]))
    for level, boxes, layer, end in zip(maps, rois, layers, ends, strict=True):
        part = out[end - len(boxes) : end]
        by_rows(level, boxes, layer.spatial_scale, layer.sampling_ratio, layer.aligned, part)
    return out


def crops_by_level(extractor: Any, maps: Sequence[Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
    """Return the crops of RoIs in float32, (m, r, r, c), level by level, and the row of each in `rois`, (m,).

    extractor: mmdet's SingleRoIExtractor.
    maps, rois: see `roi_align`; RoIs of all levels.
    """
    levels = extractor.map_roi_levels(rois, extractor.num_inputs)
    rows = [(levels == number).nonzero()[:, 0] for number in range(extractor.num_inputs)]
    inputs = [level.float() for level in maps[: extractor.num_inputs]]
    return roi_align(inputs, [rois[part] for part in rows], extractor.roi_layers), torch.cat(rows)


def is_supported(extractor: Any) -> bool:
    """Return whether `crops_by_level` crops as an extractor does."""
    average = all(getattr(layer, "pool_mode", "") == "avg" for layer in extractor.roi_layers)
    return type(extractor).__name__ == "SingleRoIExtractor" and average and extractor.num_inputs > 1


def use_in_training(model: Any) -> None:
    """Let a model crop its RoIs with `roi_align` in training. Other RoI extractors stay as they are.

    The gradient takes less than half the time of torchvision's on a CPU. mmdet also converts RoIs to the type
    of the feature maps. In bfloat16, which has eight significant bits, an edge beyond 256 px would move by up
    to 1 px.
    """
    heads = model.roi_head
    for extractor in [heads.bbox_roi_extractor, *([heads.mask_roi_extractor] if heads.with_mask else [])]:
        if is_supported(extractor):
            # A partial, because a copy of the model then gets the copy of the module.
            extractor.forward = partial(_in_order, extractor)


def _in_order(extractor: Any, maps: Sequence[Tensor], rois: Tensor, scale: float | None = None) -> Tensor:
    """Return the crops (m, c, r, r) of RoIs in their order. mmdet crops RoIs that it also scales."""
    if scale is not None:
        return type(extractor).forward(extractor, maps, rois, scale)  # type: ignore[no-any-return]
    crops, rows = crops_by_level(extractor, maps, rois.float())
    return crops.permute(0, 3, 1, 2)[rows.argsort()]


def is_tracing() -> bool:
    """Return whether this code is being traced for an export."""
    jit: Any = torch.jit  # parts of it have no types
    return bool(jit.is_tracing())


def by_rows(level: Tensor, rois: Tensor, scale: float, samples: int, aligned: bool, out: Tensor) -> None:
    """Write the crops of the RoIs of a level to `out`, (m, r, r, c), as sums of rows of the level.

    level: (n, c, h, w), channels last.
    scale: cells per px.
    samples: points per bin and axis. 0: one per cell.
    aligned: whether the centres of cells are at half-integer coordinates.
    """
    images, channels, height, width = level.shape
    size = out.shape[1]
    rows = level.permute(0, 2, 3, 1).reshape(images * height * width, channels)
    corners = rois[:, 1:] * scale - (0.5 if aligned else 0.0)
    extent = corners[:, 2:] - corners[:, :2]
    step = (extent if aligned else extent.clamp(min=1.0)) / size
    points = torch.full_like(step, samples) if samples > 0 else step.ceil()
    max_points = points.amax(dim=1)
    out[max_points == 0] = 0.0  # RoIs without area have no points
    # RoIs with the same number of points are cropped together, which needs no padding terms of weight 0.
    for number in sorted(set(max_points.tolist()) - {0}):
        terms = 4 * int(number) ** 2
        for part in (
            (max_points == number).nonzero().squeeze(1).split(max(1, _VALUES // (size * size * terms)))
        ):
            y, y_weights = _axis(corners[part, 1], step[part, 1], points[part, 1], int(number), height, size)
            x, x_weights = _axis(corners[part, 0], step[part, 0], points[part, 0], int(number), width, size)
            y += (rois[part, 0].long() * height)[:, None, None]
            index = y[:, :, None, :, None] * width + x[:, None, :, None, :]
            weight = y_weights[:, :, None, :, None] * x_weights[:, None, :, None, :]
            summed = embedding_bag(
                index.reshape(-1, terms), rows, per_sample_weights=weight.reshape(-1, terms), mode="sum"
            )
            out[part] = summed.view(len(part), size, size, channels)


def _axis(
    low: Tensor, step: Tensor, points: Tensor, max_points: int, cells: int, size: int
) -> tuple[Tensor, Tensor]:
    """Return the cells that each bin of each RoI reads along one axis, and their weights.

    Both have the shape (m, size, 2 max_points).

    low, step: (m,) start of the RoIs and length of a bin, in cells.
    points: (m,) number of points in a bin.
    max_points: largest number of points in a bin.
    cells: length of the axis.
    """
    number = torch.arange(max_points, device=low.device)
    bins = torch.arange(size, device=low.device)
    share = (number + 0.5) / points.clamp(min=1)[:, None]  # where in its bin each point lies
    at = low[:, None, None] + step[:, None, None] * (bins[:, None] + share[:, None, :])
    counts = (number < points[:, None])[:, None, :] & (at >= -1) & (at <= cells)
    at = at.clamp(0, cells - 1)
    below = at.floor()
    fraction = at - below
    weight = counts / points.clamp(min=1)[:, None, None]
    indices = torch.cat([below, (below + 1).clamp(max=cells - 1)], dim=2).long()
    return indices, torch.cat([(1 - fraction) * weight, fraction * weight], dim=2)
