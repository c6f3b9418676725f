"""The forward pass predicts what mmdet predicts."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from support.factories import CLASSES, draw

from al_loop.detector.inference import forward_pass
from al_loop.detector.inference.predict import Detector, fuse_detector, predict
from al_loop.structures.boxes import iou
from al_loop.structures.images import ImageFile, Prediction

pytestmark = pytest.mark.train


def pictures(count: int, size: tuple[int, int] = (96, 64)) -> tuple[list[ImageFile], list[np.ndarray]]:
    """Pictures of blocks; the sizes of their files are twice as wide and three times as high."""
    boxes = [[10, 8, 30, 12], [50, 30, 12, 28], [60, 6, 25, 11]]
    shown = [np.asarray(draw(*size, boxes[: 1 + i % 3], seed=i))[:, :, ::-1].copy() for i in range(count)]
    images = [ImageFile(f"{i:064}", None, 2 * size[0], 3 * size[1]) for i in range(count)]  # type: ignore[arg-type]
    return images, shown


def assert_alike(ours: list[Prediction], theirs: list[Prediction], *, boxes: int = 4) -> None:
    assert sum(len(one.boxes) for one in theirs) >= boxes
    for quick, plain in zip(ours, theirs, strict=True):
        assert quick.image_id == plain.image_id
        assert quick.boxes.labels.tolist() == plain.boxes.labels.tolist()
        np.testing.assert_allclose(quick.boxes.xyxy, plain.boxes.xyxy, atol=1e-2)
        np.testing.assert_allclose(quick.boxes.scores, plain.boxes.scores, atol=1e-4)
        np.testing.assert_allclose(quick.distributions, plain.distributions, atol=1e-4)
        np.testing.assert_allclose(quick.embedding, plain.embedding, atol=1e-4)
        # Features are not bounded: their error grows with them.
        largest = np.abs(plain.features).max(initial=5.0)
        np.testing.assert_allclose(quick.features, plain.features, atol=2e-4 * largest)


@pytest.mark.parametrize("size", [(96, 64), (70, 50), (33, 96)])  # whole, and with padding on both sides
def test_predictions_equal_those_of_mmdet(detector: Detector, size: tuple[int, int]) -> None:
    images, shown = pictures(5, size)
    quick = fuse_detector(detector, "fp32")
    assert quick.fused is not None
    ours = predict(quick, images, shown, 0.05, features=True)
    assert_alike(ours, predict(detector, images, shown, 0.05, features=True))
    (alone,) = predict(quick, images[2:3], shown[2:3], 0.05, features=True)
    assert_alike([alone], ours[2:3], boxes=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"roi_head.bbox_head.reg_class_agnostic": False},
        {"test_cfg.rpn.nms_pre": 7, "test_cfg.rpn.max_per_img": 9},
        {"test_cfg.rpn.min_bbox_size": 10},
        {"test_cfg.rcnn.max_per_img": 2},
        {"roi_head.bbox_roi_extractor.roi_layer.sampling_ratio": 2},
        {
            "roi_head.bbox_head.type": "ConvFCBBoxHead",
            "roi_head.bbox_head.num_shared_fcs": 1,
            "roi_head.bbox_head.num_reg_fcs": 1,
        },
        {
            "roi_head.bbox_head.type": "ConvFCBBoxHead",
            "roi_head.bbox_head.num_shared_convs": 1,
            "roi_head.bbox_head.conv_out_channels": 8,
        },
    ],
)
def test_predictions_equal_those_of_mmdet_with_other_settings(
    config: Any, trained: Any, changes: dict[str, Any]
) -> None:
    from al_loop.detector.config.model_config import build_model

    changed = deepcopy(config)
    changed.merge_from_dict({f"model.{name}": value for name, value in changes.items()})
    torch.manual_seed(0)
    model: Any = build_model(changed)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    fitting = {name: value for name, value in trained[0].weights.items() if shapes.get(name) == value.shape}
    model.load_state_dict(fitting, strict=False)
    other = Detector(model, changed, torch.device("cpu"))
    images, shown = pictures(4)
    assert_alike(
        predict(fuse_detector(other, "fp32"), images, shown, 0.05, features=True),
        predict(other, images, shown, 0.05, features=True),
    )


def test_no_boxes_at_all(detector: Detector) -> None:
    images, shown = pictures(2)
    found = predict(fuse_detector(detector, "fp32"), images, [0 * one for one in shown], 0.999, features=True)
    assert [len(one.boxes) for one in found] == [0, 0]
    assert found[0].distributions.shape == (0, len(CLASSES) + 1)
    assert found[0].embedding.shape == (64,)


def test_bf16_distributions_are_close_to_fp32(detector: Detector) -> None:
    """Of every proposal: between boxes of nearly equal scores, rounding decides which NMS keeps."""
    _, shown = pictures(6)
    height, width = shown[0].shape[:2]
    heads, proposals = [], None
    with torch.inference_mode():
        for kind in ("fp32", "bf16"):
            model = fuse_detector(detector, kind).fused
            batch = forward_pass.normalise(model, torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2))
            maps = model.extract_feat(batch.to(forward_pass.PRECISIONS[kind]))
            anchors = forward_pass.anchors_of(model, maps)
            proposals = proposals or forward_pass.propose(model, maps, anchors, (width, height))
            heads.append(forward_pass.classify(model, maps, proposals, (width, height)))
    exact, rough = heads
    assert len(exact.distributions) > 100
    assert rough.distributions.dtype == rough.boxes.dtype == torch.float32
    assert not torch.equal(exact.distributions, rough.distributions)
    torch.testing.assert_close(rough.distributions, exact.distributions, atol=0.05, rtol=0)
    for plain, half in zip(exact.boxes.split(4, dim=1), rough.boxes.split(4, dim=1), strict=True):
        large = ((plain[:, 2:] - plain[:, :2]) > 4).all(dim=1)
        assert large.sum() > 100
        apart = (plain - half).abs().amax(dim=1) / (plain[:, 2:] - plain[:, :2]).amin(dim=1)
        assert apart[large].max() < 0.1


def test_bf16_finds_most_boxes_of_fp32(detector: Detector) -> None:
    images, shown = pictures(6)
    plain, half = (predict(fuse_detector(detector, kind), images, shown, 0.3) for kind in ("fp32", "bf16"))
    boxes = found = 0
    for exact, rough in zip(plain, half, strict=True):
        assert rough.embedding.dtype == rough.distributions.dtype == np.float32
        np.testing.assert_allclose(rough.embedding, exact.embedding, rtol=0.05, atol=0.05)
        apart = np.abs(exact.distributions[:, None] - rough.distributions[None]).max(axis=2)
        same = (iou(exact.boxes.xyxy, rough.boxes.xyxy) > 0.9) & (apart < 0.05)
        same &= exact.boxes.labels[:, None] == rough.boxes.labels[None]
        boxes += max(same.shape)
        found += same.any(axis=1).sum()
    assert boxes > 6
    assert found > 0.6 * boxes
    assert any((exact.embedding != rough.embedding).any() for exact, rough in zip(plain, half, strict=True))


def test_fusing_does_not_change_the_model(detector: Detector) -> None:
    before = {name: value.clone() for name, value in detector.model.state_dict().items()}
    fuse_detector(detector, "bf16")
    after = detector.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_models_with_other_parts_use_mmdets_own_pass(config: Any) -> None:
    from al_loop.detector.config.model_config import build_model

    other = deepcopy(config)
    other.model.test_cfg.rcnn.nms = {"type": "soft_nms", "iou_threshold": 0.5}
    model = build_model(other)
    assert (
        forward_pass.unsupported_part(model) == "another NMS in its box head than plain NMS within each class"
    )
    assert fuse_detector(Detector(model, other, torch.device("cpu")), "bf16").fused is None
