"""RoIAlign by rows of the feature map is torchvision's, in prediction and in training."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torchvision.ops import roi_align as torchvision_roi_align

from al_loop.detector import roi_align
from al_loop.detector.config.model_config import build_model

pytestmark = pytest.mark.train


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("samples", [0, 2])
def test_crops_are_torchvisions(aligned: bool, samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """RoIs of any size, inside the map, across its edges, outside of it, and without area."""
    monkeypatch.setattr(roi_align, "_VALUES", 20_000)  # in many pieces
    torch.manual_seed(0)
    level = torch.randn(3, 8, 20, 30)
    corner = torch.rand(400, 2) * torch.tensor([400.0, 300.0]) - 60
    extent = torch.rand(400, 2) ** 2 * torch.tensor([300.0, 200.0])
    extent[:5] = 0
    rois = torch.cat([torch.randint(0, 3, (400, 1)).float(), corner, corner + extent], dim=1)
    crops = torch.full((400, 7, 7, 8), float("nan"))
    last = level.contiguous(memory_format=torch.channels_last)
    roi_align.by_rows(last, rois, 0.1, samples, aligned, crops)
    expected = torchvision_roi_align(level, rois, 7, 0.1, samples, aligned)
    torch.testing.assert_close(crops.permute(0, 3, 1, 2), expected, atol=1e-4, rtol=1e-4)


def crops_and_gradients(extractor: Any, maps: list[torch.Tensor], rois: torch.Tensor) -> list[torch.Tensor]:
    """The crops of an extractor, and the gradients of a weighted sum of them."""
    maps = [level.clone().requires_grad_() for level in maps]
    crops = extractor(maps[:4], rois)
    weights = torch.linspace(-1, 1, crops.numel()).view(crops.shape)
    (crops.float() * weights).sum().backward()
    return [crops, *(level.grad for level in maps[:4] if level.grad is not None)]


@pytest.fixture
def extractors(config: Any) -> tuple[Any, Any]:
    """mmdet's RoI extractor, and that of a model in training."""
    model: Any = build_model(config, 0)
    changed = deepcopy(model)
    roi_align.use_in_training(changed)
    return model.roi_head.bbox_roi_extractor, deepcopy(changed).roi_head.bbox_roi_extractor


def pyramid(channels: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Feature maps of two images of 1024 px, and RoIs of all levels, with edges at fractions of a pixel."""
    torch.manual_seed(0)
    maps = [torch.randn(2, channels, 1024 // stride, 1024 // stride) for stride in (4, 8, 16, 32)]
    corner, side = torch.rand(60, 2) * 700, 10 + torch.rand(60, 1) ** 3 * 310
    return maps, torch.cat([torch.randint(0, 2, (60, 1)).float(), corner, corner + side], dim=1)


def test_training_has_the_crops_and_gradients_of_mmdet(extractors: tuple[Any, Any]) -> None:
    maps, rois = pyramid(extractors[0].out_channels)
    expected, found = (crops_and_gradients(extractor, maps, rois) for extractor in extractors)
    assert len(expected) == len(found) == 5
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_in_bfloat16_the_edges_of_rois_are_not_rounded(extractors: tuple[Any, Any]) -> None:
    """mmdet rounds them, by up to 2 px at 1000 px."""
    maps, rois = pyramid(extractors[0].out_channels)
    exact = extractors[0](maps, rois)
    with torch.autocast("cpu", torch.bfloat16):
        half = [level.bfloat16() for level in maps]
        theirs, ours = ((extractor(half, rois) - exact).abs() for extractor in extractors)
    assert 10 * ours.mean() < theirs.mean()


def test_an_empty_level_has_no_crops(extractors: tuple[Any, Any]) -> None:
    maps, rois = pyramid(extractors[0].out_channels)
    small = rois[(rois[:, 3] - rois[:, 1]) < 20]
    assert len(small)
    torch.testing.assert_close(extractors[1](maps, small), extractors[0](maps, small), atol=1e-3, rtol=1e-3)
    assert extractors[1](maps, rois[:0]).shape == (0, *extractors[0](maps, small).shape[1:])
