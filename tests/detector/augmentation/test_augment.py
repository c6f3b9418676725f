"""Augmented images: boxes stay around their objects, and each change can be switched off."""

from __future__ import annotations

from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from al_loop.core.training_config import AugmentConfig
from al_loop.detector.augmentation.augment import Augment, Cutout

OFF: dict[str, Any] = {
    "hflip": False, "shift": 0, "zoom": 0, "colour": 0, "grayscale": 0, "noise": 0, "blur": 0, "cutout": 0,
}  # fmt: skip
NAMES = [field.name for field in msgspec.structs.fields(AugmentConfig)]
Picture = NDArray[np.uint8]


def sample(picture: Picture, *boxes: tuple[float, ...], ignored: tuple[bool, ...] = ()) -> dict[str, Any]:
    """Return an image of a batch with boxes of class 0, 1, ..."""
    from mmdet.structures.bbox import HorizontalBoxes  # after al_loop.detector, which provides its operators

    return {
        "img": picture,
        "gt_bboxes": HorizontalBoxes(torch.tensor(boxes).reshape(-1, 4)),
        "gt_bboxes_labels": np.arange(len(boxes)),
        "gt_ignore_flags": np.array(ignored or [False] * len(boxes)),
        "hulls": [None] * len(boxes),
    }


def augmented(image: dict[str, Any], seed: int, **settings: Any) -> tuple[Picture, NDArray[np.float32]]:
    """Return an augmented copy and its boxes. settings: those that are not off."""
    results = Augment(AugmentConfig(**{**OFF, **settings})).transform({**image, "seed": seed})
    return results["img"], results["gt_bboxes"].tensor.numpy()


def arrow() -> Picture:
    """Return a picture that is none of its rotations and mirror images."""
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[5:35, 5:10] = picture[5:10, 5:20] = 255
    return picture


def test_an_image_stays_as_it_is_if_all_is_off() -> None:
    picture, boxes = augmented(sample(arrow(), (5.25, 5, 20, 35)), 0)
    assert np.array_equal(picture, arrow())
    assert boxes.tolist() == [[5.25, 5, 20, 35]]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("copy_paste")])
def test_each_setting_changes_images_of_its_own(name: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    image = sample(cv2.GaussianBlur(picture, (5, 5), 2).astype(np.uint8), (10.0, 10, 50, 50))
    strength = True if name in {"hflip", "rotate90"} else 0.5 if name not in {"rotate", "shear"} else 30.0
    pictures = [augmented(image, seed, **{name: strength})[0] for seed in range(8)]
    assert not all(np.array_equal(p, image["img"]) for p in pictures)


def test_quarter_turns_without_flips_never_mirror() -> None:
    turned = [np.rot90(arrow(), k).tobytes() for k in range(4)]
    pictures = {augmented(sample(arrow()), seed, rotate90=True)[0].tobytes() for seed in range(40)}
    assert pictures == set(turned)
    mirrored = {
        augmented(sample(arrow()), seed, rotate90=True, hflip=True)[0].tobytes() for seed in range(99)
    }
    assert mirrored == {*turned, *(np.rot90(arrow()[:, ::-1], k).tobytes() for k in range(4))}


def test_a_moved_box_is_the_box_around_its_object() -> None:
    """A disc and its box, which stays tight under rotation, because it is taken from an ellipse."""
    picture = np.zeros((200, 200, 3), np.uint8)
    cv2.circle(picture, (120, 90), 30, (255, 255, 255), -1)
    image = sample(picture, (90, 60, 151, 121))
    for seed in range(10):
        for settings in ({"rotate": 180.0}, {"shift": 0.1, "zoom": 0.25, "hflip": True}, {"rotate90": True}):
            turned, boxes = augmented(image, seed, **settings)
            y, x = np.nonzero((turned[..., 0] > 150).astype(bool))
            extent = (x.min(), y.min(), x.max() + 1, y.max() + 1)
            np.testing.assert_allclose(boxes[0], extent, atol=2)


def test_cutout_drops_hidden_boxes_and_keeps_the_others_exactly() -> None:
    boxes = np.array([[0.1, 0.1, 0.2, 0.2, 0], [0.1005, 0.1, 0.5, 0.5, 1], [0.8, 0.8, 0.9, 0.9, 2]])
    kept = Cutout().apply_to_bboxes(boxes, np.array([[0, 0, 19, 20]]), shape=(100, 100, 3))
    assert kept.tolist() == boxes[1:].tolist()
    assert Cutout().apply_to_bboxes(boxes, np.zeros((0, 4)), shape=(100, 100, 3)).tolist() == boxes.tolist()


def test_erase_hides_a_part_of_objects_alone() -> None:
    picture = np.full((100, 100, 3), 7, np.uint8)
    image = sample(picture, (10, 10, 40, 40), (60, 60, 90, 90), ignored=(False, True))
    shares = []
    for seed in range(20):
        erased, boxes = augmented(image, seed, erase=0.2)
        changed = (erased != 7).any(axis=2)
        assert len(boxes) == 2
        assert not changed[40:].any()
        shares.append(changed[10:40, 10:40].mean())
    assert 0 < max(shares) <= 0.2
