"""Numbers of a training: memory formats and precisions change its speed, not its losses."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from al_loop.detector.config.model_config import build_model
from al_loop.detector.training.optimiser import keep_depthwise_in_float32


def losses_and_gradients(model: Any, memory_format: Any) -> dict[str, torch.Tensor]:
    """The losses of a batch with one object in each image, and the gradients of the weights."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    model = deepcopy(model).double().to(memory_format=memory_format).train()
    torch.manual_seed(0)
    boxes = InstanceData(bboxes=torch.tensor([[10.0, 10, 40, 40]]).double(), labels=torch.tensor([1]))
    shapes = dict.fromkeys(("img_shape", "pad_shape", "batch_input_shape"), (64, 96))
    meta = {**shapes, "scale_factor": (1.0, 1.0)}
    samples = [DetDataSample(metainfo=meta, gt_instances=boxes) for _ in range(2)]
    found = model.loss(torch.randn(2, 3, 64, 96).double(), samples)
    losses = {name: sum(value) if isinstance(value, list) else value for name, value in found.items()}
    torch.stack([value for name, value in losses.items() if "loss" in name]).sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {**losses, **gradients}


@pytest.mark.integration
def test_channels_last_gives_the_same_losses_and_gradients(config: Any) -> None:
    model = build_model(config, 0)
    plain, last = (
        losses_and_gradients(model, kind) for kind in (torch.contiguous_format, torch.channels_last)
    )
    assert {"loss_cls", "loss_rpn_bbox", "backbone.conv1.weight"} < plain.keys() == last.keys()
    for name, value in plain.items():
        torch.testing.assert_close(last[name], value)


def test_trained_depthwise_convolutions_stay_in_float32() -> None:
    frozen, trained, full = nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 1)
    frozen.requires_grad_(False)
    model = nn.ModuleList([frozen, trained, full])
    keep_depthwise_in_float32(model)
    maps = torch.randn(1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        kinds = [module(maps.bfloat16()).dtype for module in model]
    assert kinds == [torch.bfloat16, torch.float32, torch.bfloat16]
    copy = deepcopy(model)  # as the moving average, which labels images
    copy[1].weight.data.zero_()
    copy[1].bias.data.fill_(2.0)
    assert (copy[1](maps) == 2.0).all()
    assert torch.equal(trained(maps), nn.functional.conv2d(maps, trained.weight, trained.bias, groups=4))
