"""Ignore regions: training ignores them, and detections on them are neither correct nor false."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from support.coco_tools import coco_stats
from support.factories import CLASSES
from support.training import training_job

from al_loop.core.training_config import AugmentConfig
from al_loop.detector.augmentation.augment import Augment
from al_loop.detector.config.model_config import build_model
from al_loop.detector.ignore_regions import IgnoringAssigner, extend_regions, ignore_regions
from al_loop.detector.training.step_loop import SeededImages
from al_loop.detector.training.train import train
from al_loop.evaluation.bootstrap import average_precision
from al_loop.evaluation.evaluate import evaluate, match
from al_loop.images.coco import write_coco
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage

Make = Callable[..., Boxes]


def hand(make_boxes: Make) -> tuple[list[LabelledImage], dict[str, Boxes]]:
    """A bolt at the left; the right half is a crowd of bolts. Detected: on it, falsely, the bolt."""
    image = ImageFile("a", Path("a.png"), 200, 100)
    truth = [LabelledImage(image, make_boxes((0, 0, 20, 20, 0)), make_boxes((100, 0, 200, 100, 0)))]
    predicted = make_boxes((120, 10, 140, 30, 0, 0.9), (60, 60, 80, 80, 0, 0.8), (0, 0, 20, 20, 0, 0.7))
    return truth, {"a": predicted}


def test_detections_on_a_crowd_count_neither_way_by_hand(make_boxes: Make) -> None:
    truth, predicted = hand(make_boxes)
    # One false detection before the correct one: precision 1/2 at every recall. Without the region: 1/3.
    assert evaluate(truth, predicted, CLASSES).ap == pytest.approx(1 / 2)
    assert evaluate([replace(truth[0], ignored=Boxes())], predicted, CLASSES).ap == pytest.approx(1 / 3)
    # A region of another class has no effect.
    other = [replace(truth[0], ignored=make_boxes((100, 0, 200, 100, 1)))]
    assert evaluate(other, predicted, CLASSES).ap == pytest.approx(1 / 3)
    assert (evaluate(truth, predicted, CLASSES).boxes, evaluate(truth, predicted, CLASSES).images) == (1, 1)


def test_ap_with_regions_equals_that_of_pycocotools_on_the_written_file(
    make_boxes: Make, tmp_path: Path
) -> None:
    truth, predicted = hand(make_boxes)
    truth.append(
        LabelledImage(ImageFile("b", Path("b.png"), 90, 90), Boxes(), make_boxes((10, 10, 50, 50, 1)))
    )
    predicted["b"] = make_boxes((12, 12, 30, 30, 1, 0.9), (60, 60, 70, 70, 0, 0.95))
    expected = coco_stats(truth, predicted, CLASSES, tmp_path)[0]
    metrics = evaluate(truth, predicted, CLASSES)
    # Two false detections before the bolt; there is no nut.
    assert metrics.ap == pytest.approx(expected, abs=1e-12) == pytest.approx(1 / 3)
    assert metrics.per_class == {"bolt": pytest.approx(1 / 3), "nut": None}
    stored = average_precision(match(truth, predicted, CLASSES), np.ones((1, 2)))
    assert np.nanmean(stored) == pytest.approx(expected, abs=1e-12)


def test_boxes_in_a_region_are_neither_positive_nor_negative(config: Any) -> None:
    """The second stage's assigner on an object, its surroundings, the region, and an object in it."""
    assigner = build_model(config).roi_head.bbox_assigner
    rows = [
        [0, 0, 20, 20],
        [30, 40, 50, 60],
        [60, 10, 70, 20],
        [80, 10, 92, 22],
        [44, 10, 54, 20],
        [41, 10, 51, 20],
    ]
    priors = InstanceData(priors=torch.tensor(rows, dtype=torch.float32))
    objects = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 20, 20], [80, 10, 92, 22]]), labels=torch.tensor([0, 1])
    )
    region = InstanceData(bboxes=torch.tensor([[48.0, 0, 96, 32]]))
    assigned = IgnoringAssigner(assigner).assign(priors, objects, region)
    # Of the last two, 6 and 3 tenths lie in the region.
    assert assigned.gt_inds.tolist() == [1, 0, -1, 2, -1, 0]
    nothing = InstanceData(bboxes=torch.zeros(0, 4))
    assert IgnoringAssigner(assigner).assign(priors, objects, nothing).gt_inds.tolist() == [1, 0, 0, 2, 0, 0]


def test_an_anchor_that_overlaps_a_region_as_an_object_is_ignored(config: Any) -> None:
    """IoU 0.44 and 0.25 with the region: the RPN's negatives have less than 0.3, those of the head 0.5."""
    model = build_model(config)
    boxes = InstanceData(priors=torch.tensor([[0.0, 0, 30, 30], [0, 0, 40, 40]]))
    region = InstanceData(bboxes=torch.tensor([[0.0, 0, 20, 20]]))
    nothing = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64))
    for assigner, expected in ((model.rpn_head.assigner, [-1, 0]), (model.roi_head.bbox_assigner, [0, 0])):
        assert IgnoringAssigner(assigner).assign(boxes, nothing, region).gt_inds.tolist() == expected


def test_a_whole_image_that_is_ignored_gives_no_loss(config: Any) -> None:
    torch.manual_seed(0)
    model = build_model(config)
    ignore_regions(model)
    model.train()
    assert losses(model, torch.zeros(0, 4)) > 0.1
    whole = torch.tensor([[0.0, 0.0, 96.0, 64.0]])
    assert losses(model, extend_regions(whole, (64, 96))) == 0


def test_a_region_at_the_edge_goes_on_outside() -> None:
    regions = torch.tensor([[0.0, 10, 20, 30], [30, 0, 96, 64], [40, 10, 50, 20]])
    far = 16.0 * 96
    assert extend_regions(regions, (64, 96)).tolist() == [
        [-far, 10, 20, 30],
        [30, -far, far, far],
        [40, 10, 50, 20],
    ]


def losses(model: Any, regions: torch.Tensor) -> float:
    sample = DetDataSample(
        metainfo={"img_shape": (64, 96), "batch_input_shape": (64, 96), "pad_shape": (64, 96)}
    )
    sample.set_metainfo({"scale_factor": (1.0, 1.0), "ori_shape": (64, 96), "img_id": 1})
    sample.gt_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64))
    sample.ignored_instances = InstanceData(
        bboxes=regions, labels=torch.zeros(len(regions), dtype=torch.int64)
    )
    picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        terms = {
            name: value for name, value in model.loss(picture, [sample]).items() if name.startswith("loss")
        }
    assert {"loss_rpn_cls", "loss_rpn_bbox"} <= set(terms)
    parts = [part for value in terms.values() for part in (value if isinstance(value, list) else [value])]
    return sum(float(part.sum()) for part in parts)


def loaded(file: Path, *more: dict[str, Any], seed: int = 0) -> Any:
    """The first image of a COCO file, read as in training, at half its size."""
    pipeline = [{"type": "ReadPicture"}, {"type": "LoadAnnotations", "with_bbox": True}]
    pipeline += [
        {"type": "FitInto", "size": (48, 32)},
        *more,
        {"type": "PackDetInputs", "meta_keys": ("img_id",)},
    ]
    classes = {"metainfo": {"classes": CLASSES}, "data_prefix": {"img": ""}}
    coco = {"type": "CocoDataset", "ann_file": str(file), "pipeline": pipeline, **classes}
    return SeededImages(coco)[0, seed]


AUGMENT = {"type": Augment.__name__, "config": AugmentConfig()}


@pytest.mark.integration
def test_training_reads_the_regions_of_an_image(make_boxes: Make, tmp_path: Path, sets: Any) -> None:
    first = sets[0][0]
    write_coco(tmp_path / "train.json", [replace(first, ignored=make_boxes((10, 4, 90, 60, 1)))], CLASSES)
    plain = loaded(tmp_path / "train.json")["data_samples"]
    assert plain.ignored_instances.bboxes.tensor.tolist() == [[5, 2, 45, 30]]
    assert plain.ignored_instances.labels.tolist() == [1]
    np.testing.assert_allclose(plain.gt_instances.bboxes.tensor.numpy(), first.boxes.xyxy / 2)
    assert plain.gt_instances.labels.tolist() == [0, 1]
    for seed in range(4):
        changed = loaded(tmp_path / "train.json", AUGMENT, seed=seed)["data_samples"]
        assert changed.ignored_instances.labels.tolist() == [1]
        assert set(changed.gt_instances.labels.tolist()) <= {0, 1}
        width, height = (
            changed.ignored_instances.bboxes.tensor[0, 2:] - changed.ignored_instances.bboxes.tensor[0, :2]
        )
        assert 48 * 0.6 < width <= 48
        assert 32 * 0.6 < height <= 32


@pytest.mark.train
def test_training_takes_an_image_of_a_region_alone(
    make_boxes: Make, tmp_path: Path, sets: Any, config: Any
) -> None:
    everything = make_boxes((0, 0, 96, 64, 0))
    training = [
        replace(sets[0][0], boxes=Boxes(), ignored=everything),
        replace(sets[0][1], ignored=everything),
    ]
    job = training_job(config, (training, sets[1][:1]), tmp_path / "work", steps=1, batch_size=1)
    result = train(job)
    assert all(
        torch.isfinite(tensor).all() for tensor in result.weights.values() if tensor.is_floating_point()
    )
