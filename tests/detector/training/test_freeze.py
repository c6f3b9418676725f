"""Frozen layers and the learning rate of the backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from support.factories import CLASSES
from support.training import run_settings, training_job

from al_loop.core.errors import ConfigError
from al_loop.detector.config.model_config import build_model, load_model_config
from al_loop.detector.training.freeze import with_frozen_layers
from al_loop.detector.training.optimiser import optimiser_config
from al_loop.detector.training.train import train

ALL = {"stem", "layer1", "layer2", "layer3", "layer4"}


def trained_layers(model: Any) -> set[str]:
    """Layers of a ResNet that have a parameter or statistics which training changes."""
    model.train()
    layers: set[str] = set()
    for name, module in model.backbone.named_modules():
        norm = isinstance(module, torch.nn.BatchNorm2d) and module.training
        if norm or any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
            layers.add(name.split(".")[0] if name.startswith("layer") else "stem")
    return layers


@pytest.mark.integration
@pytest.mark.parametrize("base", ["small", "r50"])
@pytest.mark.parametrize(
    ("freeze", "trained"),
    [("nothing", ALL), ("stem", {"layer2", "layer3", "layer4"}), ("encoder", set())],
)
def test_layers_of_a_resnet(base: str, freeze: Any, trained: set[str]) -> None:
    config = load_model_config(base, CLASSES)
    before = config.model.backbone.frozen_stages
    assert trained_layers(build_model(with_frozen_layers(config, freeze))) == trained
    assert config.model.backbone.frozen_stages == before
    assert with_frozen_layers(config, None) is config


def test_layers_of_a_network_of_timm() -> None:
    config = load_model_config("lite", CLASSES)

    def share(freeze: Any) -> float:
        parameters = list(build_model(with_frozen_layers(config, freeze)).backbone.parameters())
        return sum(p.numel() for p in parameters if p.requires_grad) / sum(p.numel() for p in parameters)

    assert (share("encoder"), share("nothing")) == (0.0, 1.0)
    assert 0.9 < share("stem") < 1.0


def test_another_backbone_is_refused() -> None:
    config = load_model_config("small", CLASSES)
    config.model.backbone = {"type": "SwinTransformer"}
    with pytest.raises(ConfigError, match=r'freeze = "stem": expected a ResNet .* got a SwinTransformer\. '):
        with_frozen_layers(config, "stem")


@pytest.mark.train
def test_a_frozen_backbone_stays_as_it_was(config: Any, sets: Any, tmp_path: Path) -> None:
    start = build_model(config).state_dict()
    job = training_job(config, sets, tmp_path, start, steps=1, freeze="encoder")
    after = train(job).weights
    moved = {name.partition(".")[0] for name in start if not torch.equal(start[name], after[name])}
    assert "backbone" not in moved
    assert {"neck", "rpn_head", "roi_head"} <= moved


@pytest.mark.parametrize(("factor", "rate"), [(None, 0.01), (0.1, 0.001)])
def test_the_backbone_has_a_rate_of_its_own(config: Any, factor: float | None, rate: float) -> None:
    run = run_settings(lr=0.01, backbone_lr=factor)
    model = build_model(config)
    groups = build_optim_wrapper(model, optimiser_config(config, run)).optimizer.param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert [*{rates[id(parameter)] for parameter in model.backbone.parameters()}] == [pytest.approx(rate)]
    assert {rates[id(parameter)] for parameter in model.roi_head.parameters()} == {0.01}
    assert "paramwise_cfg" not in config.optim_wrapper
