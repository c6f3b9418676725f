"""Masks of predictions: those of mmdet, whatever the batch, and stored with the scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from pycocotools import mask as coco
from support.lively_model import lively_masks
from support.outlined_pictures import outlined_set

from al_loop.core.errors import ModelError
from al_loop.detector.config.model_config import build_model
from al_loop.detector.inference import mask_pass
from al_loop.detector.inference.predict import Detector, fuse_detector, predict
from al_loop.detector.inference.scoring import ScoreSettings, score_images
from al_loop.detector.transforms import Picture, read_picture
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.images import ImageFile, Prediction
from al_loop.structures.masks import SIDE, outline_in

pytestmark = pytest.mark.integration


@pytest.fixture
def images(tmp_path: Path) -> list[ImageFile]:
    return [item.image for item in outlined_set(tmp_path, 4, 1)]


def predicted(
    detector: Detector, images: list[ImageFile], score_thr: float = 0.3, **options: Any
) -> list[Prediction]:
    shown = [read_picture(image.path) for image in images]
    return predict(detector, images, shown, score_thr, **{"masks": True, **options})


@torch.inference_mode()
def by_mmdet(detector: Detector, image: ImageFile, picture: Picture) -> Any:
    """mmdet's own prediction of an image on disk that was resized to the picture."""
    scale = (picture.shape[1] / image.width, picture.shape[0] / image.height)
    shape = {"img_shape": picture.shape[:2], "ori_shape": (image.height, image.width), "scale_factor": scale}
    sample = DetDataSample(metainfo=shape)
    inputs = [torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))]
    data = detector.model.data_preprocessor({"inputs": inputs, "data_samples": [sample]}, False)
    return detector.model.predict(data["inputs"], [sample])[0].pred_instances


@pytest.mark.parametrize("agnostic", [True, False])
@pytest.mark.parametrize("size", [(96, 64), (211, 110)])
def test_masks_equal_those_of_mmdet(
    config: Any, images: list[ImageFile], agnostic: bool, size: tuple[int, int]
) -> None:
    """All images in one batch; the files are larger than the pictures, in another ratio of their sides."""
    detector = lively_masks(config, **{"roi_head.mask_head.class_agnostic": agnostic})
    files = [replace(image, width=size[0], height=size[1]) for image in images]
    ours, pixels, boxes = predicted(fuse_detector(detector, "fp32"), files), 0, 0
    for image, own in zip(files, ours, strict=True):
        theirs = by_mmdet(detector, image, read_picture(image.path))
        scores = theirs.scores.numpy()
        assert own.masks is not None
        count = len(own.boxes)
        assert (scores > 0.3).sum() == count
        np.testing.assert_allclose(own.boxes.xyxy, theirs.bboxes.numpy()[:count], atol=0.02)
        for mask, box, expected in zip(own.masks, own.boxes.xyxy, theirs.masks.numpy(), strict=False):
            outline = outline_in(mask, box, *size)
            got = np.zeros(expected.shape, bool) if outline is None else coco.decode(outline) > 0
            # Rounding to 1 / 255 decides at pixels whose probability is one half.
            assert (got != expected).sum() <= 0.02 * max(50, expected.sum())
            pixels += int(expected.sum())
        boxes += count
    assert boxes > 20
    assert pixels > 2000


def test_other_models_have_masks_too(config: Any, images: list[ImageFile]) -> None:
    """With soft NMS mmdet's own steps predict, with the same masks for the same boxes."""
    detector = lively_masks(config)
    fused = predicted(fuse_detector(detector, "fp32"), images)
    plain = predicted(detector, images)
    for one, other in zip(fused, plain, strict=True):
        assert one.masks is not None is not other.masks
        np.testing.assert_allclose(one.boxes.xyxy, other.boxes.xyxy, atol=0.01)
        assert np.abs(one.masks.astype(int) - other.masks).max() <= 1
    soft = lively_masks(config, **{"test_cfg.rcnn.nms": {"type": "soft_nms", "iou_threshold": 0.5}})
    assert fuse_detector(soft, "fp32").fused is None


def test_the_batch_does_not_matter(
    config: Any, images: list[ImageFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = fuse_detector(lively_masks(config), "fp32")
    together = predicted(detector, images)
    monkeypatch.setattr(mask_pass, "_VALUES", 3 * 64 * SIDE**2)
    few = predicted(detector, images)
    alone = [predicted(detector, [image])[0] for image in images]
    for whole, parts, own in zip(together, few, alone, strict=True):
        assert whole.masks is not None
        assert len(whole.masks) > 3
        for other in (parts, own):
            assert other.masks is not None
            assert np.abs(whole.masks.astype(int) - other.masks).max() <= 1


def test_masks_in_bf16_are_close(config: Any, images: list[ImageFile]) -> None:
    """Of the same boxes: the boxes of both precisions differ."""
    detector = lively_masks(config)
    exact, rough = (fuse_detector(detector, precision) for precision in ("fp32", "bf16"))
    [prediction] = predicted(exact, images[:1])
    boxes = torch.from_numpy(prediction.boxes.xyxy).float()
    found = mask_pass.Detections(
        torch.arange(len(boxes)), torch.from_numpy(prediction.boxes.labels), boxes[:, 0], boxes, [len(boxes)]
    )
    picture = torch.from_numpy(read_picture(images[0].path)).permute(2, 0, 1)[None]
    masks = []
    for each in (exact, rough):
        network = each.fused
        batch = mask_pass_input(each, picture)
        with torch.inference_mode():
            masks.append(mask_pass.predict_masks(network, network.extract_feat(batch), found))
    assert masks[0].dtype == masks[1].dtype == torch.float32
    assert (masks[0] - masks[1]).abs().mean() < 0.02
    assert not torch.equal(*masks)


def mask_pass_input(detector: Detector, picture: torch.Tensor) -> torch.Tensor:
    from al_loop.detector.inference.forward_pass import normalise

    dtype = next(detector.fused.backbone.parameters()).dtype
    return normalise(detector.fused, picture).to(dtype).contiguous(memory_format=torch.channels_last)


def test_masks_only_where_they_are_wanted_and_known(config: Any, images: list[ImageFile]) -> None:
    detector = fuse_detector(lively_masks(config), "fp32")
    assert all(one.masks is None for one in predicted(detector, images, masks=False))
    none = predicted(detector, images, 0.9999)
    assert [len(one.boxes) for one in none] == [0] * 4
    assert all(one.masks is not None and one.masks.shape == (0, SIDE**2) for one in none)
    plain = Detector(build_model(config), config, torch.device("cpu"))
    assert predicted(fuse_detector(plain, "fp32"), images)[0].masks is None
    untrained = replace(detector, config=detector.config.copy())
    untrained.config.untrained = True
    [first] = predicted(untrained, images[:1])
    assert first.masks is not None
    assert first.masks.shape == (0, SIDE**2)


def test_masks_that_are_no_numbers_are_refused(config: Any, images: list[ImageFile]) -> None:
    detector = lively_masks(config)
    with torch.no_grad():
        detector.model.roi_head.mask_head.conv_logits.bias.fill_(torch.nan)
    with pytest.raises(ModelError, match="is not finite"):
        predicted(fuse_detector(detector, "fp32"), images)


def test_scores_have_masks(config: Any, images: list[ImageFile], tmp_path: Path) -> None:
    detector, stores = lively_masks(config), {}
    for masks in (True, False):
        stores[masks] = ShardStore(tmp_path / f"{masks}")
        settings = ScoreSettings(0.3, 3, 0, 2, masks=masks)
        assert not score_images(detector, images, stores[masks], settings)
    scored, plain = stores[True].load(), stores[False].load()
    assert plain.masks is None
    np.testing.assert_array_equal(np.asarray(scored.xyxy), np.asarray(plain.xyxy))
    whole = {one.image_id: one for one in predicted(fuse_detector(detector, "fp32"), images)}
    for row, name in enumerate(scored.image_ids):
        boxes = scored.outlined_boxes(row, 96, 64)
        expected = whole[name]
        assert expected.masks is not None
        assert boxes.outlines is not None
        assert len(boxes.outlines) == len(expected.boxes) > 3
        rows = slice(scored.offsets[row], scored.offsets[row + 1])
        stored = np.asarray(scored.masks)[rows] if scored.masks is not None else expected.masks[:0]
        assert np.abs(stored.astype(int) - expected.masks).max() <= 1
