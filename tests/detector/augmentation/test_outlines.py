"""Boxes that stay tight under rotation, because the objects have outlines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from al_loop.core.training_config import AugmentConfig
from al_loop.detector.augmentation.augment import Augment
from al_loop.detector.augmentation.copy_paste import PasteObjects
from al_loop.detector.augmentation.outlines import LoadHulls, hull_of, outline_hull
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage
from al_loop.structures.segmentation import mask

OFF: dict[str, Any] = {
    "hflip": False, "shift": 0, "zoom": 0, "colour": 0, "grayscale": 0, "noise": 0, "blur": 0, "cutout": 0,
}  # fmt: skip
BAR = [40.0, 100, 160, 90, 161, 100, 41, 110]  # a thin sloping bar, far from the ellipse of its box


def bar() -> NDArray[np.uint8]:
    """Return a picture (200, 200, 3) of the bar."""
    picture = np.zeros((200, 200, 3), np.uint8)
    cv2.fillPoly(picture, [np.array(BAR).reshape(-1, 2).astype(np.int32)], (255, 255, 255))
    return picture


def sample(*outlines: Any) -> dict[str, Any]:
    """Return the picture with a box around the bar for each outline."""
    from mmdet.structures.bbox import HorizontalBoxes  # after al_loop.detector, which provides its operators

    y, x = np.nonzero(bar()[..., 0])
    box = [x.min(), y.min(), x.max() + 1, y.max() + 1]
    instances = [{"bbox": box, **({"mask": outline} if outline else {})} for outline in outlines]
    results = {
        "img": bar(),
        "ori_shape": (200, 200),
        "scale_factor": (1.0, 1.0),
        "instances": instances,
        "gt_bboxes": HorizontalBoxes(torch.tensor([box] * len(outlines), dtype=torch.float32).reshape(-1, 4)),
        "gt_bboxes_labels": np.arange(len(outlines)),
        "gt_ignore_flags": np.zeros(len(outlines), bool),
    }
    return LoadHulls().transform(results)


def test_hulls_by_hand() -> None:
    pixels = np.zeros((5, 6), np.bool_)
    pixels[1:3, 2] = pixels[2, 2:5] = True
    corners = [[2, 1], [2, 3], [3, 1], [5, 2], [5, 3]]
    assert sorted(hull_of(pixels).tolist()) == corners
    hull = outline_hull(mask(pixels), 5, 6)
    assert hull is not None
    assert sorted(hull.tolist()) == corners
    assert outline_hull(mask(pixels), 6, 5) is None  # of another image
    assert outline_hull(None, 5, 6) is None
    polygons = outline_hull([[0.0, 0, 4, 0, 2, 1], [0.0, 4, 4, 4, 4, 3]], 5, 6)
    assert polygons is not None
    assert sorted(polygons.tolist()) == [[0, 0], [0, 4], [4, 0], [4, 4]]


def test_hulls_are_scaled_with_the_image() -> None:
    results = {"ori_shape": (200, 200), "scale_factor": (0.5, 0.25), "instances": [{"mask": [BAR]}, {}]}
    first, second = LoadHulls().transform(results)["hulls"]
    assert first.max(axis=0).tolist() == [161 / 2, 110 / 4]
    assert second is None


@pytest.mark.parametrize(
    "settings", [{"rotate": 180.0}, {"shear": 30.0}, {"rotate": 45.0, "hflip": True, "rotate90": True}]
)
@pytest.mark.parametrize("as_mask", [False, True])
def test_a_box_follows_its_outline(settings: dict[str, Any], as_mask: bool) -> None:
    outline = mask(bar()[..., 0] > 0) if as_mask else [BAR]
    augment, wrong = Augment(AugmentConfig(**{**OFF, **settings})), 0.0
    for seed in range(12):
        results = augment.transform({**sample(outline, None), "seed": seed})
        tight, ellipse = results["gt_bboxes"].tensor.numpy()
        y, x = np.nonzero(results["img"][..., 0] > 130)
        expected = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
        np.testing.assert_allclose(tight, expected, atol=2)
        wrong = max(wrong, np.abs(ellipse - expected).max())
    assert wrong > 3


def test_a_pasted_object_has_its_hull(tmp_path: Path) -> None:
    """The bar is pasted before the image is rotated, and its box stays tight."""
    cv2.imwrite(str(tmp_path / "bar.png"), bar())
    y, x = np.nonzero(bar()[..., 0])
    box = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], np.float64)
    source = LabelledImage(
        ImageFile("a", tmp_path / "bar.png", 200, 200), Boxes(box, np.array([0]), outlines=([BAR],))
    )
    config = AugmentConfig(**{**OFF, "rotate": 180.0, "copy_paste": 1.0})
    for seed in range(12):
        results = {**sample(), "img": np.zeros((200, 200, 3), np.uint8), "seed": seed}
        for transform in (PasteObjects(config, [source], {"size": (200, 200)}), Augment(config)):
            results = transform.transform(results)
        y, x = np.nonzero(results["img"][..., 0] > 150)
        expected = [x.min(), y.min(), x.max() + 1, y.max() + 1]
        np.testing.assert_allclose(results["gt_bboxes"].tensor.numpy()[0], expected, atol=2.5)
