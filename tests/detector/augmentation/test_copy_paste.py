"""Objects of other images on a training image."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from al_loop.core.training_config import AugmentConfig
from al_loop.detector.augmentation.copy_paste import MAX_COVERED, PasteObjects, patches_of
from al_loop.detector.transforms import FitInto
from al_loop.structures.boxes import Boxes, covered
from al_loop.structures.images import ImageFile, LabelledImage

FITTING = {"size": (100, 80)}
RED, GREEN = (0, 0, 250), (0, 250, 0)  # BGR


@pytest.fixture
def sources(tmp_path: Path) -> list[LabelledImage]:
    """An image with a red object of class 0, and one with two green objects of class 1 and an outline."""
    pictures = np.zeros((2, 160, 200, 3), np.uint8)
    pictures[0, 20:60, 40:80] = RED
    pictures[1, 20:60, 40:60] = pictures[1, 100:120, 100:140] = GREEN
    triangle = [[40.0, 20.0, 60.0, 20.0, 40.0, 60.0]]
    boxes = [
        Boxes(np.array([[40.0, 20, 80, 60]]), np.array([0])),
        Boxes(
            np.array([[40.0, 20, 60, 60], [100, 100, 140, 120]]), np.array([1, 1]), outlines=(triangle, None)
        ),
    ]
    images = []
    for number, (picture, labels) in enumerate(zip(pictures, boxes, strict=True)):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), picture)
        images.append(LabelledImage(ImageFile(str(number), path, 200, 160), labels))
    return images


def target(*boxes: tuple[float, ...]) -> dict[str, Any]:
    """Return a black training image with boxes of class 5."""
    from mmdet.structures.bbox import HorizontalBoxes  # after al_loop.detector, which provides its operators

    return {
        "img": np.zeros((80, 100, 3), np.uint8),
        "gt_bboxes": HorizontalBoxes(torch.tensor(boxes).reshape(-1, 4)),
        "gt_bboxes_labels": np.full(len(boxes), 5),
        "gt_ignore_flags": np.zeros(len(boxes), bool),
    }


def pasted(transform: PasteObjects, seed: int, *boxes: tuple[float, ...]) -> dict[str, Any]:
    return transform.transform({**target(*boxes), "seed": seed})


def extent(picture: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the box around bright pixels."""
    y, x = np.nonzero((picture > 125).any(axis=2))
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])


def test_a_pasted_object_lies_in_its_box_and_has_its_class(sources: list[LabelledImage]) -> None:
    transform = PasteObjects(AugmentConfig(copy_paste=1, rotate90=True), sources[:1], FITTING)
    sides = []
    for seed in range(20):
        results = pasted(transform, seed)
        boxes = results["gt_bboxes"].tensor.numpy()
        assert results["gt_bboxes_labels"].tolist() == [0]
        assert results["gt_ignore_flags"].tolist() == [False]
        # The feathered border is black here, as the source is.
        np.testing.assert_allclose(boxes[0], extent(results["img"]), atol=1.5)
        sides.append(boxes[0][2:] - boxes[0][:2])
    assert np.min(sides) >= 20 / 1.25 - 1
    assert np.max(sides) <= 20 * 1.25 + 1
    assert np.ptp(sides) > 5


def test_classes_are_copied_equally_often(sources: list[LabelledImage]) -> None:
    transform = PasteObjects(AugmentConfig(copy_paste=1), [*sources[:1], *[sources[1]] * 5], FITTING)
    first = [int(pasted(transform, seed)["gt_bboxes_labels"][0]) for seed in range(100)]
    assert 30 < sum(first) < 70


def test_boxes_of_the_image_stay_visible(sources: list[LabelledImage]) -> None:
    transform = PasteObjects(AugmentConfig(copy_paste=1), sources, FITTING)
    old = ((0.0, 0, 50, 40), (60.0, 10, 90, 50))
    counts = []
    for seed in range(40):
        boxes = pasted(transform, seed, *old)["gt_bboxes"].tensor.numpy().astype(np.float64)
        assert boxes[:2].tolist() == [list(box) for box in old]
        for later in range(2, len(boxes)):
            assert covered(boxes[:later], boxes[later : later + 1]).max() <= MAX_COVERED + 1e-6
        assert (boxes >= 0).all()
        assert (boxes <= (100, 80, 100, 80)).all()
        counts.append(len(boxes) - 2)
    assert {0, 1} < set(counts) | {0}
    full = pasted(
        transform, 0, *[(x, y, x + 10, y + 10) for x in range(0, 100, 10) for y in range(0, 80, 10)]
    )
    assert not full["img"].any()


def test_an_outline_is_cut_out_and_a_box_is_feathered(sources: list[LabelledImage]) -> None:
    drawn, box = patches_of(sources[1], FitInto(**FITTING), "box")
    inside = drawn.box.astype(int)
    alpha = drawn.alpha[inside[1] : inside[3], inside[0] : inside[2]]
    assert alpha[2, 2] == 1  # inside the triangle
    assert alpha[-1, -1] == 0
    assert (box.alpha[4:-4, 4:-4] == 1).all()
    assert box.alpha[0].max() < 0.5
    assert np.all(np.diff(box.alpha[:, box.alpha.shape[1] // 2][:4]) >= 0)
    (ellipse,) = patches_of(sources[0], FitInto(**FITTING), "ellipse")
    x1, y1, *_ = ellipse.box.astype(int)
    middle = ellipse.alpha.shape[0] // 2
    assert ellipse.alpha[middle, middle] == 1
    assert ellipse.alpha[y1, x1] < 1


def test_a_box_with_a_part_of_another_object_is_not_copied(sources: list[LabelledImage]) -> None:
    item = sources[0]
    boxes = Boxes(np.array([[40.0, 20, 80, 60], [70, 20, 110, 60], [150, 100, 190, 140]]), np.arange(3))
    copied = patches_of(LabelledImage(item.image, boxes), FitInto(**FITTING), "box")
    assert [patch.label for patch in copied] == [2]


def test_the_share_of_images_and_the_seed_decide(sources: list[LabelledImage]) -> None:
    transform = PasteObjects(AugmentConfig(copy_paste=0.3), sources, FITTING)
    results = [pasted(transform, seed) for seed in range(100)]
    assert 15 < sum(len(r["gt_bboxes_labels"]) > 0 for r in results) < 45
    other = pickle.loads(pickle.dumps(transform))  # noqa: S301, as a decoding process gets it
    for seed in (3, 1, 2):
        assert np.array_equal(pasted(other, seed)["img"], results[seed]["img"])
    nothing = PasteObjects(AugmentConfig(copy_paste=1), [LabelledImage(sources[0].image, Boxes())], FITTING)
    assert not pasted(nothing, 0)["img"].any()


def test_objects_among_unknown_ones_are_not_copied(sources: list[LabelledImage]) -> None:
    """Only single boxes of the image were verified. An outline cuts out the object alone."""
    everything = Boxes(np.array([[0.0, 0, 200, 160]]), np.zeros(1, np.int64))
    red, green = (replace(item, ignored=everything) for item in sources)
    assert len(patches_of(sources[0], FitInto(**FITTING), "box")) == 1
    assert patches_of(red, FitInto(**FITTING), "box") == []
    assert [patch.cut for patch in patches_of(green, FitInto(**FITTING), "box")] == [True]
    assert PasteObjects(AugmentConfig(copy_paste=1), [red, green], FITTING).images == [green]
    # Onto such an image, objects of others are pasted.
    image = {**target((40, 10, 60, 30), (0, 0, 100, 80)), "gt_ignore_flags": np.array([False, True])}
    changed = PasteObjects(AugmentConfig(copy_paste=1), sources[:1], FITTING).transform({**image, "seed": 3})
    assert changed["gt_ignore_flags"].tolist() == [False, True, False]
