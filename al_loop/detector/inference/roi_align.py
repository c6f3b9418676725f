"""RoIAlign on a CPU, as sums over rows of the feature map.

torchvision's goes through every channel by itself and on one core. Every value of RoIAlign is a weighted sum of a few
cells of the map, with the same weights in all channels: where the channels of a cell lie next to each other, that is what
`embedding_bag` computes, several cores at once. Nine times as fast on two of them (benchmarks/scoring.py), equal within rounding.
Source of what is computed: He 2017 (Mask R-CNN), section 3; half-pixel corrected as in Detectron2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

_VALUES = 4_000_000  # weights that are held at once: 50 MB with their indices


def roi_align(level: Tensor, rois: Tensor, size: int, scale: float, samples: int, *, aligned: bool) -> Tensor:
    """Return what is cut out for each RoI, (m, size, size, c).

    level: (n, c, h, w), channels last.  rois: (m, 5), the image in the batch and xyxy px of the picture.
    scale: cells per px.  samples: points per bin and axis, 0 for one per cell.  aligned: cells have their centre at half.
    """
    images, channels, height, width = level.shape
    rows = level.permute(0, 2, 3, 1).reshape(images * height * width, channels)
    corners = rois[:, 1:] * scale - (0.5 if aligned else 0.0)
    extent = corners[:, 2:] - corners[:, :2]
    step = (extent if aligned else extent.clamp(min=1.0)) / size
    points = torch.full_like(step, samples) if samples > 0 else step.ceil()
    most = points.amax(dim=1)
    cut = level.new_zeros((len(rois), size * size, channels))
    # RoIs with as many points are cut together: the others would carry along terms of weight 0.
    for number in sorted(set(most.tolist()) - {0}):  # what has no area has no points
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
    """Return which cells each bin of each RoI reads along one axis, and their weights: (m, size, 2 most).

    low, step, points: (m,) where the RoIs begin and how long a bin is, in cells, and the points in a bin;
    most: the largest of these.
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
