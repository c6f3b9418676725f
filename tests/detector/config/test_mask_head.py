"""Mask heads: of the shipped configs, of a user's, and those that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from al_loop.core.errors import ModelError
from al_loop.detector.config.mask_head import add_mask_head, drop_mask_head, has_mask_head
from al_loop.detector.config.model_config import build_model, load_model_config
from al_loop.detector.config.stored_config import read_config, write_config

CLASSES = ("bolt", "nut")
HEAD: dict[str, Any] = {"type": "FCNMaskHead", "num_convs": 1, "in_channels": 64, "conv_out_channels": 16}
EXTRACTOR = {
    "type": "SingleRoIExtractor",
    "roi_layer": {"type": "RoIAlign", "output_size": 14, "sampling_ratio": 0},
    "out_channels": 64,
    "featmap_strides": [4, 8, 16, 32],
}


def write(folder: Path, **heads: Any) -> str:
    """Write a user's config: the small model with these parts of its RoI head."""
    base = Path(load_model_config.__globals__["resource"]("configs/model/small.py"))
    model = {"type": "MaskRCNN", "roi_head": heads}
    (folder / "mine.py").write_text(f"_base_ = [{str(base)!r}]\nmodel = {model!r}\n")
    return str(folder / "mine.py")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "convolutions", "channels", "masks"),
    [("lite", 2, 64, 1), ("small", 2, 64, 1), ("r50", 4, 256, 2)],
)
def test_the_head_fits_the_model(name: str, convolutions: int, channels: int, masks: int) -> None:
    """As wide as the pyramid, and with a mask of each class where the boxes are regressed by class."""
    config = load_model_config(name, CLASSES, masks=True)
    assert not has_mask_head(config.model)
    plain = config.copy()
    [note] = add_mask_head(config.model)
    assert note == (
        f"the config has no mask head: {convolutions} convolutions of {channels} channels are added"
    )
    assert add_mask_head(config.model) == []
    assert config.model.type == "MaskRCNN"
    assert config.model.roi_head.bbox_roi_extractor == plain.model.roi_head.bbox_roi_extractor
    head = build_model(config).roi_head.mask_head  # type: ignore[union-attr]
    assert len(head.convs) == convolutions
    assert head.conv_logits.weight.shape == (masks, channels, 1, 1)
    drop_mask_head(config.model)
    assert config.model.roi_head == plain.model.roi_head
    assert config.model.type == plain.model.type


def test_the_mask_head_of_a_users_config_is_kept_and_stored(tmp_path: Path) -> None:
    path = write(tmp_path, mask_head=HEAD, mask_roi_extractor=EXTRACTOR)
    config = load_model_config(path, ("a", "b", "c"), (96, 64), masks=True)
    assert config.model.roi_head.mask_head.num_classes == 3
    assert config.model.roi_head.mask_roi_extractor.roi_layer.use_torchvision
    assert config.model.train_cfg.rcnn.mask_size == 28
    assert add_mask_head(config.model) == []
    digest = write_config(tmp_path, config)
    again = read_config(tmp_path, digest)
    assert again.model == config.model
    assert build_model(again).roi_head.mask_head.conv_logits.weight.shape == (3, 16, 1, 1)  # type: ignore[union-attr]


def test_a_mask_head_in_a_workspace_for_boxes_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, mask_head=HEAD, mask_roi_extractor=EXTRACTOR)
    with pytest.raises(
        ModelError,
        match=r"mine\.py predicts masks \(MaskRCNN with mask_head\), and this workspace is for boxes\. "
        r'For masks set task = "segmentation" in al-loop\.toml; for boxes give the config of a Faster R-CNN',
    ):
        load_model_config(path, CLASSES)


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ({"mask_head": {**HEAD, "type": "CoarseMaskHead"}}, "expected an FCNMaskHead .*got CoarseMaskHead"),
        ({"mask_head": HEAD, "mask_roi_extractor": None}, "got FCNMaskHead without one"),
        ({"mask_head": [HEAD, HEAD]}, "got list"),
        (
            {"mask_roi_extractor": {**EXTRACTOR, "roi_layer": {"type": "RoIAlign", "output_size": 7}}},
            r"expected masks of 28 x 28 cells \(RoIAlign of 14, scale_factor 2\), got 14 x 14",
        ),
        ({"mask_head": {**HEAD, "upsample_cfg": {"type": None}}}, "got 14 x 14"),
        ({"mask_head": {**HEAD, "upsample_cfg": {"type": "deconv", "scale_factor": "x"}}}, "got 0 x 0"),
        ({"mask_iou_head": {"type": "MaskIoUHead"}}, "got MaskRCNN with mask_iou_head"),
    ],
)
def test_other_mask_heads_are_refused(tmp_path: Path, heads: dict[str, Any], message: str) -> None:
    path = write(tmp_path, **{"mask_head": HEAD, "mask_roi_extractor": EXTRACTOR, **heads})
    with pytest.raises(ModelError, match=message):
        load_model_config(path, CLASSES, masks=True)
