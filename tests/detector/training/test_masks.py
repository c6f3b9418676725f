"""Masks in training: targets, boxes without an outline, and a small Mask R-CNN that learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from support.outlined_pictures import mask_ious, outlined_set
from support.training import stop_after, training_job

from al_loop.core.training_config import AugmentConfig
from al_loop.detector.checkpoint import load_into
from al_loop.detector.config.mask_head import add_mask_head
from al_loop.detector.config.model_config import build_model, load_model_config
from al_loop.detector.inference.predict import Detector
from al_loop.detector.inference.scoring import ScoreSettings, score_images
from al_loop.detector.self_training.settings import UnlabelledPart
from al_loop.detector.training.job import read_job, write_job
from al_loop.detector.training.launcher import train_in_processes
from al_loop.detector.training.mask_loss import learn_masks, mask_loss, mask_targets
from al_loop.detector.training.train import train
from al_loop.evaluation.measure import key_value, measure
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.masks import SIDE, with_masks

CLASSES = ("disc", "triangle")


@pytest.fixture(scope="module")
def masked_config() -> Any:
    """The small model with a mask head."""
    config = load_model_config("small", CLASSES, (96, 64), masks=True)
    add_mask_head(config.model)
    return config


def test_targets_by_hand() -> None:
    """A square of 14 px in RoIs of 28 px, of 14 px, and one that leaves the image."""
    masks = np.zeros((2, 40, 60), np.uint8)
    masks[0, 10:24, 20:34] = 1
    masks[1] = 1
    boxes = torch.tensor([[20.0, 10, 48, 38], [20, 10, 34, 24], [27, 10, 41, 24], [46, 30, 74, 58]])
    targets = mask_targets(masks, boxes, torch.tensor([0, 0, 0, 1])).bool().numpy()
    expected = np.zeros((4, SIDE, SIDE), bool)
    expected[0, :14, :14] = True
    expected[1] = True
    expected[2, :, :14] = True  # half of the RoI
    expected[3] = True  # clipped to the image: not stretched, as the proposals are clipped, too
    assert (targets == expected).all()


def test_targets_are_those_of_mmdet() -> None:
    """Where mmcv has its compiled operator, `crop_and_resize` computes them; torchvision's has its rule."""
    from mmdet.structures.mask import structures

    rng = np.random.default_rng(0)
    masks = (rng.random((3, 50, 70)) < 0.5).astype(np.uint8)
    low = rng.uniform(0, 30, (9, 2))
    boxes = torch.from_numpy(np.concatenate([low, low + rng.uniform(3, 20, (9, 2))], axis=1)).float()
    rows = torch.from_numpy(rng.integers(0, 3, 9))

    def operator(pixels: Any, rois: Any, size: Any, *options: Any) -> Any:
        from torchvision.ops import roi_align

        scale, samples, mode, aligned = options
        assert (scale, samples, mode, aligned) == (1.0, 0, "avg", True)
        return roi_align(pixels, rois, size, scale, samples, aligned)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structures, "roi_align", operator)
        bitmaps = structures.BitmapMasks(masks, 50, 70)
        cut = bitmaps.crop_and_resize(boxes.numpy(), (SIDE, SIDE), rows.numpy(), device="cpu")
    np.testing.assert_array_equal(mask_targets(masks, boxes, rows).numpy(), cut.masks)


def positives(boxes: torch.Tensor, labels: list[int], masks: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """A sampling result whose positive RoIs are the boxes themselves, and its truth."""
    from mmdet.structures.mask import BitmapMasks

    sampled = InstanceData(
        pos_priors=boxes, pos_assigned_gt_inds=torch.arange(len(boxes)), pos_gt_labels=torch.tensor(labels)
    )
    return sampled, InstanceData(bboxes=boxes, masks=BitmapMasks(masks, *masks.shape[1:]))


@pytest.mark.integration
@pytest.mark.parametrize("agnostic", [True, False])
def test_boxes_without_an_outline_do_not_count(masked_config: Any, agnostic: bool) -> None:
    """The loss of two boxes, one without an outline, is that of the other; without any it is 0."""
    config = masked_config.copy()
    config.model.roi_head.mask_head.class_agnostic = agnostic
    model = build_model(config, 1).train()
    maps = tuple(torch.randn(1, 64, 16 // 2**i, 24 // 2**i) for i in range(5))
    boxes = torch.tensor([[8.0, 8, 40, 40], [50, 10, 90, 50]])
    masks = np.zeros((2, 64, 96), np.uint8)
    masks[0, 12:30, 10:38] = 1
    masks[1, 20:50, 60:90] = 1

    def loss(*shown: int) -> torch.Tensor:
        drawn = masks.copy()
        drawn[[row for row in (0, 1) if row not in shown]] = 0
        sampled, truth = positives(boxes, [0, 1], drawn)
        return mask_loss(model.roi_head, maps, [sampled], maps[0], [truth])["loss_mask"]["loss_mask"].sum()

    one, other = loss(0), loss(1)
    assert one != other
    torch.testing.assert_close(loss(0, 1), (one + other) / 2)
    none = loss()
    assert none == 0
    none.backward()
    gradients = [parameter.grad for parameter in model.roi_head.mask_head.parameters()]
    assert all(gradient is not None and (gradient == 0).all() for gradient in gradients)
    # mmdet's own loss of the same RoIs, computed from its formula.
    logits = model.roi_head._mask_forward(maps, torch.cat([torch.zeros(2, 1), boxes], dim=1))["mask_preds"]
    wanted = mask_targets(masks, boxes, torch.arange(2))
    chosen = logits[:, 0] if agnostic else logits[torch.arange(2), torch.arange(2)]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(chosen, wanted)
    weight = model.roi_head.mask_head.loss_mask.loss_weight
    assert 0 < weight < 1
    torch.testing.assert_close(loss(0, 1), weight * expected)


@pytest.mark.integration
def test_a_copy_of_the_model_has_its_own_head(masked_config: Any) -> None:
    """The moving average of the weights is a copy."""
    from copy import deepcopy

    model = build_model(masked_config, 1)
    learn_masks(model, "mask_ap")
    copy: Any = deepcopy(model)
    assert copy.roi_head.mask_loss.args[0] is copy.roi_head
    assert copy.roi_head.predict_mask.args[0] is copy.roi_head


@pytest.fixture(scope="module")
def outlined(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Training and validation pictures; a quarter of the training boxes have no outline."""
    folder = tmp_path_factory.mktemp("outlined")
    return outlined_set(folder / "train", 16, 1, without=0.25), outlined_set(folder / "val", 6, 2)


@pytest.mark.train
def test_a_small_mask_rcnn_learns_masks(masked_config: Any, outlined: Any, tmp_path: Path) -> None:
    """Killed once and resumed. It validates as scoring does, by the AP of masks."""
    settings: dict[str, Any] = {"lr": 2e-3, "steps": 50, "val_every": 25, "batch_size": 4}
    augment = AugmentConfig(copy_paste=0.3, rotate90=True)
    job = training_job(
        masked_config, outlined, tmp_path / "work", metric="mask_ap", augment=augment, **settings
    )
    with pytest.raises(KeyboardInterrupt):
        train(job, stop_after(27))
    result = train(job)
    assert result.steps == 50
    model = build_model(masked_config)
    load_into(model, result.weights, "the training")
    store = ShardStore(tmp_path / "scores")
    settings = {"score_thr": 0.05, "batch_size": 4, "workers": 0, "shard_size": 64, "masks": True}
    images = [item.image for item in outlined[1]]
    assert not score_images(
        Detector(model, masked_config, torch.device("cpu")), images, store, ScoreSettings(**settings)
    )
    scored = store.load()
    predicted = {name: scored.outlined_boxes(row, 96, 64) for row, name in enumerate(scored.image_ids)}
    metrics = measure(outlined[1], predicted, CLASSES, outlined=True, intervals=False)
    assert metrics.masks is not None
    assert metrics.masks.ap == pytest.approx(result.best_ap, abs=2e-3)
    sure = {name: boxes.above(0.3) for name, boxes in predicted.items()}
    assert np.mean(mask_ious(outlined[1], sure)) > 0.5


def test_masks_without_a_pixel_count_as_masks(outlined: Any) -> None:
    """As at the beginning of a training: its AP is then 0, and not that of the boxes."""
    truth = outlined[1]
    found = {}
    for item in truth:
        boxes = replace(item.boxes, scores=np.ones(2), outlines=None)
        found[item.image.id] = with_masks(boxes, np.zeros((2, SIDE**2), np.uint8), 96, 64)
    assert key_value(truth, found, CLASSES, "box_ap") == 1
    assert key_value(truth, found, CLASSES, "mask_ap") == 0


def hard_job(config: Any, outlined: Any, folder: Path, steps: int) -> Any:
    """A training in bf16 with all that touches masks: rotation, copy-paste, unlabelled images."""
    augment = AugmentConfig(copy_paste=0.7, rotate=20.0, erase=0.2)
    images = outlined[0][:6], outlined[1][:1]
    settings: dict[str, Any] = {"steps": steps, "val_every": 2, "batch_size": 2, "precision": "bf16"}
    job = training_job(config, images, folder, metric="mask_ap", augment=augment, **settings)
    part = UnlabelledPart([item.image for item in outlined[0][6:]], 2, (0.01, 0.01))
    return replace(job, unlabelled=part, rendered=outlined[0][6:8])


@pytest.mark.slow
@pytest.mark.train
def test_a_killed_training_of_masks_ends_as_one_without_a_kill(
    masked_config: Any, outlined: Any, tmp_path: Path
) -> None:
    """The pseudo-labels of unlabelled images have no masks."""
    for name in ("whole", "killed"):
        job = hard_job(masked_config, outlined, tmp_path / name, 4)
        if name == "killed":
            with pytest.raises(KeyboardInterrupt):
                train(job, stop_after(3))
        train(job)
    log = (tmp_path / "whole" / "train.log").read_text()
    assert "loss_mask" in log
    assert "unlabelled_loss_cls" in log
    assert "unlabelled_loss_mask" not in log
    last, other = (
        torch.load(tmp_path / name / "iter_4.pth", weights_only=False)["state_dict"]
        for name in ("whole", "killed")
    )
    assert any("mask_head" in name for name in last)
    assert all(torch.equal(last[name], tensor) for name, tensor in other.items())


@pytest.mark.train
@pytest.mark.slow
def test_two_processes_learn_masks(masked_config: Any, outlined: Any, tmp_path: Path) -> None:
    """The job travels as files, with its outlines. One of two images may have no mask at all."""
    job = hard_job(masked_config, outlined, tmp_path / "work", 3)
    result = train_in_processes(job, 2, 1)
    assert result.steps == 3
    assert all(torch.isfinite(tensor).all() for tensor in result.weights.values())
    name = "roi_head.mask_head.conv_logits.weight"
    assert not torch.equal(result.weights[name], build_model(masked_config, 0).state_dict()[name])


def test_outlines_travel_in_the_files_of_a_job(masked_config: Any, outlined: Any, tmp_path: Path) -> None:
    job = training_job(masked_config, outlined, tmp_path)
    write_job(job, tmp_path)
    again = read_job(tmp_path)
    for item, other in zip(job.training, again.training, strict=True):
        assert other.boxes.outlines == item.boxes.outlines
        np.testing.assert_array_equal(other.boxes.xyxy, item.boxes.xyxy)
    assert again.config.model == masked_config.model
    assert again.run == job.run
