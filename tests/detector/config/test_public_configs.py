"""MMDetection's own configs by name, and the addresses of their checkpoints."""

from __future__ import annotations

import re

import pytest

from al_loop.core.errors import ConfigError, ModelError
from al_loop.detector.config import public_configs
from al_loop.detector.config.mask_head import add_mask_head, has_mask_head
from al_loop.detector.config.model_config import build_model, load_model_config
from al_loop.detector.config.public_configs import coco_checkpoint, public_config


def test_addresses_are_those_that_mmdet_lists() -> None:
    address = coco_checkpoint("r50")
    assert address.startswith("https://")
    assert address.endswith("/faster_rcnn_r50_fpn_1x_coco_20200130-047c8118.pth")
    assert coco_checkpoint("faster-rcnn_r50_fpn_1x_coco") == address
    assert coco_checkpoint("faster-rcnn_x101-32x4d_fpn_1x_coco").endswith("-cff10310.pth")
    masks = coco_checkpoint("r50", masks=True)
    assert masks.endswith("/mask_rcnn_r50_fpn_1x_coco_20200205-d4b0c5d6.pth")
    assert coco_checkpoint("mask-rcnn_r50_fpn_1x_coco", masks=True) == masks


@pytest.mark.integration
def test_every_listed_config_is_loaded_or_refused_with_a_reason() -> None:
    without_fpn = masked = 0
    for model in public_configs._models():
        name = re.sub(r".*/(.*)\.py", r"\1", model["Config"])
        assert re.search(r"-[0-9a-f]{8}\.pth$", coco_checkpoint(name)), name
        masks = name.startswith("mask")
        if "_fpn_" in name:
            config = load_model_config(name, ("a", "b"), (64, 64), masks=masks)
            assert config.model.roi_head.bbox_head.num_classes == 2
            assert has_mask_head(config.model) == masks
        else:
            without_fpn += 1
            with pytest.raises(ModelError, match="got FasterRCNN without neck"):
                load_model_config(name, ("a", "b"), (64, 64))
        if masks:
            masked += 1
            assert config.model.roi_head.mask_head.num_classes == 2
            with pytest.raises(ModelError, match=r"predicts masks .* set task = \"segmentation\""):
                load_model_config(name, ("a", "b"), (64, 64))
    assert without_fpn == 5
    assert masked > 10


@pytest.mark.integration
def test_the_learning_rate_is_that_of_a_batch_of_4() -> None:
    config = load_model_config("faster-rcnn_r50_fpn_1x_coco", ("a",))
    assert config.optim_wrapper.optimizer.lr == pytest.approx(0.02 * 4 / 16)
    assert tuple(config.image_size) == (1333, 800)
    assert config.notes == []
    # The same architecture as the shipped one, whose checkpoint is therefore the same.
    public, shipped = (build_model(c).state_dict() for c in (config, load_model_config("r50", ("a",))))
    assert {n: t.shape for n, t in public.items()} == {n: t.shape for n, t in shipped.items()}


@pytest.mark.integration
def test_the_default_mask_head_of_r50_is_that_of_the_public_mask_rcnn() -> None:
    """So that the public checkpoint fits. The weight of the loss alone differs."""
    shipped = load_model_config("r50", ("a", "b", "c"))
    add_mask_head(shipped.model)
    public = load_model_config("mask-rcnn_r50_fpn_1x_coco", ("a", "b", "c"), masks=True)
    first, second = ({n: t.shape for n, t in build_model(c).state_dict().items()} for c in (shipped, public))
    assert first == second
    heads = (config.model.roi_head.mask_head.to_dict() for config in (shipped, public))
    first_head, second_head = ({"class_agnostic": False, **head} for head in heads)
    losses = [head.pop("loss_mask") for head in (first_head, second_head)]
    assert first_head == second_head
    assert [loss.pop("loss_weight") for loss in losses] == [0.25, 1.0]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", ["small", "mine.py", "faster-rcnn_r50_fpn_ciou_1x_coco"])
def test_a_model_without_a_public_checkpoint(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"no checkpoint for model.config = '{name}'.*r50 or one of faster"
    ):
        coco_checkpoint(name)


@pytest.mark.parametrize("name", ["..", "*", "metafile", "../faster_rcnn/faster-rcnn_r50_fpn_1x_coco", ""])
def test_other_files_of_mmdet_are_no_configs(name: str) -> None:
    assert public_config(name) is None
