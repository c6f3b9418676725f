"""RoIAlign: torchvision's, and on a CPU sums over rows of the feature map.

torchvision's CPU code handles one channel after another on one core. Every value of RoIAlign is a weighted
sum of a few cells of the map, with the same weights in all channels. `embedding_bag` computes such sums on
several cores where the channels of a cell are adjacent in memory. It is nine times as fast on two cores
(benchmarks/scoring.py), and equal within rounding.
Source: He 2017 (Mask R-CNN), section 3; half-pixel corrected as in Detectron2.
"""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch import Tensor
from torch.nn.functional import embedding_bag

_VALUES = 4_000_000  # weights that are held at once: 50 MB with their indices


def roi_align(level: Tensor, rois: Tensor, layer: Any) -> Tensor:
    """Return the crop of each RoI, (m, r, r, c), as the RoIAlign of a layer makes it.

    level: (n, c, h, w), fast on a CPU if its channels are last.
    rois: (m, 5), the index of the image in the batch and xyxy px of the image.
    layer: mmcv's RoIAlign, whose options are used.
    """
    options = layer.output_size, layer.spatial_scale, layer.sampling_ratio, layer.aligned
    if level.is_cuda or is_tracing():
        crops: Tensor = torchvision.ops.roi_align(level, rois, *options)
        return crops.permute(0, 2, 3, 1)
    return by_rows(level, rois, layer.output_size[0], *options[1:])


def is_tracing() -> bool:
    """Say whether this code is being traced for an export."""
    jit: Any = torch.jit  # parts of it have no types
    return bool(jit.is_tracing())


def by_rows(level: Tensor, rois: Tensor, size: int, scale: float, samples: int, aligned: bool) -> Tensor:
    """Return the crops (m, size, size, c) as sums of rows of a level with channels last.

    scale: cells per px.
    samples: points per bin and axis, 0 for one per cell.
    aligned: cells have their centre at half.
    """
    images, channels, height, width = level.shape
    rows = level.permute(0, 2, 3, 1).reshape(images * height * width, channels)
    corners = rois[:, 1:] * scale - (0.5 if aligned else 0.0)
    extent = corners[:, 2:] - corners[:, :2]
    step = (extent if aligned else extent.clamp(min=1.0)) / size
    points = torch.full_like(step, samples) if samples > 0 else step.ceil()
    most = points.amax(dim=1)
    cut = level.new_zeros((len(rois), size * size, channels))
    # RoIs with the same number of points are cropped together, which needs no padding terms of weight 0.
    for number in sorted(set(most.tolist()) - {0}):  # RoIs without area have no points
        terms = 4 * int(number) ** 2
        for own in (most == number).nonzero().squeeze(1).split(max(1, _VALUES // (size * size * terms))):
            y, y_weights = _axis(corners[own, 1], step[own, 1], points[own, 1], int(number), height, size)
            x, x_weights = _axis(corners[own, 0], step[own, 0], points[own, 0], int(number), width, size)
            y += (rois[own, 0].long() * height)[:, None, None]
            index = y[:, :, None, :, None] * width + x[:, None, :, None, :]
            weight = y_weights[:, :, None, :, None] * x_weights[:, None, :, None, :]
            summed = embedding_bag(
                index.reshape(-1, terms), rows, per_sample_weights=weight.reshape(-1, terms), mode="sum"
            )
            cut[own] = summed.view(len(own), size * size, channels)
    return cut.view(len(rois), size, size, channels)


def _axis(
    low: Tensor, step: Tensor, points: Tensor, most: int, cells: int, size: int
) -> tuple[Tensor, Tensor]:
    """Return the cells that each bin of each RoI reads along one axis, and their weights: (m, size, 2 most).

    low, step: (m,) start of the RoIs and length of a bin, in cells.
    points: (m,) points in a bin.
    most: the largest number of them.
    cells: length of the axis.
    """
    number = torch.arange(most, device=low.device)
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
