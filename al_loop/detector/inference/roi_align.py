"""RoIAlign: torchvision's on a GPU, and sums over rows of the feature map on a CPU.

torchvision's CPU code handles one channel after another on one core. Every value of RoIAlign is a weighted
sum of a few cells of the map, with the same weights in all channels. `embedding_bag` computes such sums on
several cores where the channels of a cell are adjacent in memory. It is nine times as fast on two cores
(benchmarks/scoring.py), and equal within rounding.
Source: He 2017 (Mask R-CNN), section 3; half-pixel corrected as in Detectron2.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    side, counts = layers[0].output_size[0], [len(boxes) for boxes in rois]
    out = rois[0].new_empty((sum(counts), side, side, maps[0].shape[1]))
    for level, boxes, layer, part in zip(maps, rois, layers, torch.split(out, counts), strict=True):
        by_rows(level, boxes, layer.spatial_scale, layer.sampling_ratio, layer.aligned, part)
    return out


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
