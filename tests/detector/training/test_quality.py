"""Class quality by hand, of a head whose boxes are its proposals; test_train.py has the real head."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from al_loop.detector.training.quality import ClassQuality


class Head:
    """Two classes; a box is the proposal itself."""

    num_classes = 2
    reg_class_agnostic = True
    bbox_coder = SimpleNamespace(decode=lambda rois, deltas: rois)

    def loss_and_target(self, **given: Any) -> Any:
        return given["cls_score"]


def test_score_and_overlap_by_hand() -> None:
    model = SimpleNamespace(roi_head=SimpleNamespace(bbox_head=Head()))
    rois = torch.tensor([[0.0, 0, 0, 10, 10], [0, 50, 50, 60, 60], [1, 0, 0, 10, 10]])
    # Image 0: one positive of class 1, half covered, and a negative; image 1: a positive of class 1, exact.
    sampled = [
        SimpleNamespace(
            priors=rois[:2, 1:], pos_priors=rois[:1, 1:], pos_gt_labels=torch.tensor([1]),
            pos_gt_bboxes=torch.tensor([[0.0, 0, 10, 5]]),
        ),
        SimpleNamespace(
            priors=rois[2:, 1:], pos_priors=rois[2:, 1:], pos_gt_labels=torch.tensor([1]),
            pos_gt_bboxes=torch.tensor([[0.0, 0, 10, 10]]),
        ),
    ]  # fmt: skip
    logits = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 9.0], [0.0, 20.0, 0.0]])
    given = {"cls_score": logits, "bbox_pred": torch.zeros(3, 4), "rois": rois, "sampling_results": sampled}
    with ClassQuality(model) as quality:
        assert model.roi_head.bbox_head.loss_and_target(**given, rcnn_train_cfg=None) is logits
        first = ((1 / 3) ** 0.6 * 0.5**0.4 + 1.0) / 2
        assert quality.mean.tolist() == pytest.approx([0.0, 0.01 * first], rel=1e-4)
        model.roi_head.bbox_head.loss_and_target(**given, rcnn_train_cfg=None)
    assert quality.mean[1] == pytest.approx(0.0199 * first, rel=1e-4)
    model.roi_head.bbox_head.loss_and_target(**given)
    assert quality.mean[1] == pytest.approx(0.0199 * first, rel=1e-4), "it looks on while it is entered only"


def test_a_step_without_positives_changes_nothing() -> None:
    model = SimpleNamespace(roi_head=SimpleNamespace(bbox_head=Head()))
    none = torch.zeros(0, 4)
    sampled = [
        SimpleNamespace(
            priors=torch.zeros(1, 4), pos_priors=none, pos_gt_labels=torch.zeros(0).long(), pos_gt_bboxes=none
        )
    ]
    with ClassQuality(model) as quality:
        model.roi_head.bbox_head.loss_and_target(
            cls_score=torch.zeros(1, 3), bbox_pred=none, rois=torch.zeros(1, 5), sampling_results=sampled
        )
    assert not quality.mean.any()
