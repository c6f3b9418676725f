"""Losses on unlabelled images, against mmdet's losses on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from al_loop.detector.config.model_config import build_model
from al_loop.detector.ignore_regions import extend_regions, ignore_regions
from al_loop.detector.self_training.losses import pseudo_label_losses, soft_losses
from al_loop.detector.self_training.teacher import PseudoLabels, Teacher

META = {
    "img_shape": (64, 96),
    "batch_input_shape": (64, 96),
    "pad_shape": (64, 96),
    "scale_factor": (1.0, 1.0),
}
BOXES = torch.tensor([[10.0, 10, 40, 40], [50, 20, 80, 50]])


@pytest.fixture
def model(config: Any) -> Any:
    torch.manual_seed(0)
    student = build_model(config)
    ignore_regions(student)
    return student


def maps_of(model: Any) -> Sequence[Tensor]:
    picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    maps: Sequence[Tensor] = model.extract_feat(picture)
    return maps


def pseudo(stable: Sequence[bool], ignored: Tensor | None = None, boxes: Tensor = BOXES) -> PseudoLabels:
    regions = torch.zeros(0, 4) if ignored is None else ignored
    return PseudoLabels(boxes, torch.arange(len(boxes)), torch.tensor(stable, dtype=torch.bool), regions)


def losses(model: Any, labels: PseudoLabels) -> dict[str, float]:
    torch.manual_seed(1)
    with torch.no_grad():
        return as_floats(pseudo_label_losses(model, maps_of(model), [META], [labels]))


def as_floats(terms: dict[str, Any]) -> dict[str, float]:
    """Add up the levels of each term."""
    return {name: float(sum(term) if isinstance(term, list) else term) for name, term in terms.items()}


def test_stable_pseudo_labels_give_the_losses_of_labels(model: Any) -> None:
    sample = DetDataSample(metainfo=META)
    sample.gt_instances = InstanceData(bboxes=BOXES, labels=torch.tensor([0, 1]))
    sample.ignored_instances = InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64)
    )
    torch.manual_seed(1)
    picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = as_floats(model.loss(picture, [sample]))
    del expected["acc"]
    assert losses(model, pseudo([True, True])) == pytest.approx(expected, rel=1e-5)


def test_a_box_that_is_not_stable_is_classified_but_not_regressed(model: Any) -> None:
    both, one, none = (
        losses(model, pseudo(flags)) for flags in ([True, True], [True, False], [False, False])
    )
    # The random samples of the second stage differ.
    assert one["loss_cls"] == pytest.approx(both["loss_cls"], rel=0.02)
    assert none["loss_cls"] == pytest.approx(both["loss_cls"], rel=0.02)
    assert one["loss_rpn_cls"] == none["loss_rpn_cls"] == both["loss_rpn_cls"]
    assert 0 < one["loss_bbox"] < both["loss_bbox"]
    assert none["loss_bbox"] == none["loss_rpn_bbox"] == 0


def test_no_background_loss_where_an_object_may_be(model: Any) -> None:
    """The whole image may show an object of a class without a threshold: nothing is learnt from it."""
    everywhere = extend_regions(torch.tensor([[0.0, 0, 96, 64]]), (64, 96))
    nothing = torch.zeros(0, 4)
    assert losses(model, pseudo([], boxes=nothing))["loss_cls"] > 0.1
    assert set(losses(model, pseudo([], everywhere, nothing)).values()) == {0.0}
    partly = losses(model, pseudo([True, True], everywhere))
    assert partly["loss_cls"] > 0
    assert partly["loss_bbox"] > 0


def test_a_student_that_agrees_with_its_teacher_has_nothing_to_learn(model: Any, config: Any) -> None:
    torch.manual_seed(2)
    pixels = [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)]
    teacher = Teacher(model, (None, None))
    view = teacher.look(pixels)
    agreeing = gradients(model, soft_losses(model, maps_from(model, pixels), [META], teacher, view))
    torch.manual_seed(3)
    other = build_model(config)
    differing = gradients(other, soft_losses(other, maps_from(other, pixels), [META], teacher, view))
    assert differing > 1e-2
    assert agreeing < differing / 20  # the teacher may compute in bf16


def maps_from(model: Any, pixels: list[Tensor]) -> Sequence[Tensor]:
    batch = model.data_preprocessor({"inputs": pixels, "data_samples": None})["inputs"]
    maps: Sequence[Tensor] = model.extract_feat(batch)
    return maps


def gradients(model: Any, terms: dict[str, Tensor]) -> float:
    """Return the largest gradient of the classifiers of both stages."""
    assert set(terms) == {"loss_rpn_cls", "loss_cls"}
    weights = [model.rpn_head.rpn_cls.weight, model.roi_head.bbox_head.fc_cls.weight]
    return max(float(grad.abs().max()) for grad in torch.autograd.grad(sum(terms.values()), weights))
