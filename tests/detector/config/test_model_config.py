"""Model configs: the paper's and the small one, and those of users."""

from __future__ import annotations

from pathlib import Path

import pytest

from al_loop.core.errors import ModelError
from al_loop.detector.config.model_config import build_model, load_model_config


@pytest.mark.integration
def test_the_papers_model() -> None:
    config = load_model_config("r50", ("blade", "vane", "other"))
    assert tuple(config.image_size) == (640, 360)
    assert config.optim_wrapper.optimizer == {
        "type": "SGD",
        "lr": 1e-5,
        "momentum": 0.9,
        "weight_decay": 1e-4,
    }
    model = build_model(config)
    assert model.roi_head.bbox_head.num_classes == 3
    assert model.neck.out_channels == 256
    # The size of torchvision's and mmdet's Faster R-CNN R50-FPN, less the 91 - 4 classes of COCO.
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(41.3e6, rel=0.01)


def test_the_small_model_is_small() -> None:
    model = build_model(load_model_config("small", ("a",), (320, 180)))
    assert sum(p.numel() for p in model.parameters()) < 5e6


def test_a_users_config_is_fitted_to_the_workspace(tmp_path: Path) -> None:
    base = Path(load_model_config.__globals__["resource"]("configs/model/small.py"))
    mine = tmp_path / "mine.py"
    mine.write_text(
        f"_base_ = {str(base)!r}\n"
        "model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18')))\n"
        "test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(800, 450))]\n"
    )
    config = load_model_config(str(mine), ("a", "b"))
    assert config.model.roi_head.bbox_head.num_classes == 2
    assert "init_cfg" not in config.model.backbone
    assert tuple(load_model_config(str(mine), ("a",), (64, 48)).image_size) == (64, 48)


def test_unusable_configs(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model config 'yolo'.*r50, small"):
        load_model_config("yolo", ("a",))
    (tmp_path / "broken.py").write_text("model = dict(")
    with pytest.raises(ModelError, match="cannot be read"):
        load_model_config(str(tmp_path / "broken.py"), ("a",))
    (tmp_path / "one_stage.py").write_text("model = dict(type='RetinaNet', bbox_head=dict())")
    with pytest.raises(ModelError, match=r"two-stage detector .*got RetinaNet"):
        load_model_config(str(tmp_path / "one_stage.py"), ("a",))
