"""The stand-in for mmcv's compiled extension."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from al_loop.core.errors import ModelError
from al_loop.detector.ops import has_compiled_ops, install_ops, nms

install_ops()


def plain_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float, offset: int) -> list[int]:  # type: ignore[type-arg]
    """NMS as written down in every textbook, with widths of x2 - x1 + offset."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        for j in kept:
            w = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0]) + offset
            h = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1]) + offset
            overlap = max(0.0, w) * max(0.0, h)
            areas = [(b[2] - b[0] + offset) * (b[3] - b[1] + offset) for b in (boxes[i], boxes[j])]
            if overlap / (sum(areas) - overlap) > threshold:
                break
        else:
            kept.append(int(i))
    return kept


@pytest.mark.parametrize("offset", [0, 1])
def test_nms_is_the_textbook_one(offset: int) -> None:
    rng = np.random.default_rng(offset)
    corners = rng.uniform(0, 30, (60, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(2, 12, (60, 2))], axis=1)
    scores = rng.permutation(60) / 60.0
    got = nms(torch.tensor(boxes), torch.tensor(scores), 0.4, offset)
    assert got.tolist() == plain_nms(boxes, scores, 0.4, offset)
    assert 0 < len(got) < 60


def test_offset_matters() -> None:
    # Without the offset their IoU is 1/3; with it 4 / 8: boxes of pixels share more.
    boxes = torch.tensor([[0.0, 0.0, 2.0, 1.0], [1.0, 0.0, 3.0, 1.0]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.4, 0).tolist() == [0, 1]
    assert nms(boxes, scores, 0.4, 1).tolist() == [0]


@pytest.mark.skipif(has_compiled_ops(), reason="full mmcv is installed and used")
def test_it_is_a_module_like_any_other() -> None:
    spec = importlib.util.find_spec("mmcv._ext")
    assert spec is not None
    assert spec.loader is not None
    from mmcv.ops import RoIAlign, batched_nms

    kept = batched_nms(
        torch.tensor([[0.0, 0, 9, 9]]),
        torch.tensor([0.5]),
        torch.tensor([0]),
        {"type": "nms", "iou_threshold": 0.5},
    )[1]
    assert kept.tolist() == [0]
    with pytest.raises(ModelError, match=r"'roi_align_forward'.*pip install"):
        RoIAlign(output_size=2)(torch.zeros(1, 1, 8, 8), torch.tensor([[0.0, 0, 0, 4, 4]]))
