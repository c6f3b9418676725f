"""The teacher's labels: sure boxes, ignored regions, and boxes that are stable."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

from al_loop.detector.config.model_config import build_model
from al_loop.detector.inference.scoring import ScoreSettings, score_images
from al_loop.detector.self_training import teacher as teacher_module
from al_loop.detector.self_training.teacher import PseudoLabels, Teacher, unsupported_part
from al_loop.detector.transforms import read_picture
from al_loop.state.prediction_store import ShardStore
from al_loop.structures.boxes import iou


def divide(thresholds: Sequence[float | None], *rows: Sequence[float], config: Any) -> PseudoLabels:
    """Divide rows (x1, y1, x2, y2, class, score) of an image of 100 x 50 px."""
    table = torch.tensor(rows)
    return Teacher(build_model(config), thresholds)._divide(
        table[:, :4], table[:, 4].long(), table[:, 5], (50, 100)
    )


def test_boxes_below_their_threshold_are_ignored(config: Any) -> None:
    labels = divide(
        (0.6, None),
        (10, 10, 30, 30, 0, 0.6),  # sure
        (50, 10, 70, 30, 0, 0.5),  # below the threshold
        (10, 35, 30, 45, 1, 0.99),  # of a class without a threshold
        (12, 10, 30, 30, 1, 0.2),  # IoU 0.9 with the sure box: the same object
        (101, 10, 120, 30, 0, 0.9),  # in the padding
        (90, 10, 120, 30, 0, 0.9),  # sure, and cut off at the edge
        config=config,
    )
    assert labels.boxes.tolist() == [[10, 10, 30, 30], [90, 10, 100, 30]]
    assert labels.classes.tolist() == [0, 0]
    # The regions, and the regions extended beyond the edges: none touches one.
    assert labels.ignored.tolist() == [[50, 10, 70, 30], [10, 35, 30, 45]] * 2


def test_without_a_threshold_everything_is_ignored(config: Any) -> None:
    labels = divide((None, None), (0, 10, 30, 30, 0, 0.9), config=config)
    assert len(labels.boxes) == len(labels.stable) == 0
    assert labels.ignored.tolist() == [[0, 10, 30, 30], [-1600, 10, 30, 30]]


def test_spread_by_hand() -> None:
    """Copies of a box of 10 x 30 px whose left edge is at 0 or 2: its deviation is 1.054 px."""
    copies = torch.tensor([[2.0 * (i % 2), 0, 10, 30] for i in range(10)])
    spread = teacher_module._spread(copies, torch.tensor([[0.0, 0, 10, 30]]))
    assert spread.tolist() == pytest.approx([1.0541 / 4 / 20], abs=1e-5)


def test_jittered_copies_stay_near_their_box() -> None:
    boxes = torch.tensor([[0.0, 0, 100, 10], [50, 50, 60, 60]])
    moved = teacher_module._jitter(boxes).view(10, 2, 4) - boxes
    assert (moved.abs() <= torch.tensor([[6, 0.6, 6, 0.6], [0.6, 0.6, 0.6, 0.6]])).all()
    assert moved[:, 0, 0].abs().max() > 1


def test_parts_that_are_not_supported(config: Any) -> None:
    model: Any = build_model(deepcopy(config))
    assert unsupported_part(model) is None
    model.rpn_head.test_cfg.nms.type = "soft_nms"
    assert "NMS" in (unsupported_part(model) or "")
    model.roi_head = type("DoubleHeadRoIHead", (torch.nn.Module,), {})()
    assert unsupported_part(model) == "DoubleHeadRoIHead in place of StandardRoIHead"


@pytest.mark.train
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 0.05)])
def test_the_teacher_sees_what_scoring_sees(
    precision: str, tolerance: float, detector: Any, sets: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two images; all boxes of scoring above the threshold are sure. No score is near it: bf16 rounds."""
    monkeypatch.setattr(teacher_module, "precision_here", lambda *_: precision)
    images = [item.image for item in sets[1][:2]]
    store = ShardStore(tmp_path)
    score_images(detector, images, store, ScoreSettings(0.05, 4, 0, 64))
    predicted = store.load().boxes_by_image()
    scores = np.concatenate([predicted[image.id].scores for image in images])
    edges = np.sort([0.3, 0.7, *scores[(scores > 0.3) & (scores < 0.7)]])
    widest = int(np.diff(edges).argmax())
    threshold = float(edges[widest : widest + 2].mean())
    teacher = Teacher(detector.model, (threshold, threshold))
    pictures = [torch.from_numpy(read_picture(image.path)).permute(2, 0, 1) for image in images]
    view = teacher.look(pictures)
    labels = teacher.label(view, [(64, 96)] * 2)
    for image, each in zip(images, labels, strict=True):
        scored = predicted[image.id].above(threshold)
        assert len(scored) == len(each.boxes) > 0
        overlap = iou(scored.xyxy, each.boxes.double().numpy())
        np.testing.assert_allclose(overlap.max(axis=1), 1, atol=tolerance)
        assert each.classes[overlap.argmax(axis=1)].tolist() == scored.labels.tolist()
    probabilities = teacher.classify(view, [each.boxes for each in labels])
    assert probabilities.shape == (sum(len(each.boxes) for each in labels), 3)
    assert [level.shape[:2] for level in teacher.objectness(view)] == [(2, 3)] * 5
