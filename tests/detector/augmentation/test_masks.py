"""Masks of a training image move as the pixels of the objects do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.outlined_pictures import outlined_set

from al_loop.core.training_config import AugmentConfig
from al_loop.detector.augmentation.augment import Augment
from al_loop.detector.augmentation.copy_paste import PasteObjects
from al_loop.detector.augmentation.outlines import LoadHulls, LoadMasks, fitted_mask
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage
from al_loop.structures.segmentation import hull, mask, pixels, polygon

OFF: dict[str, Any] = {
    "hflip": False, "shift": 0, "zoom": 0, "colour": 0, "grayscale": 0, "noise": 0, "blur": 0, "cutout": 0,
}  # fmt: skip
HEART = np.array([[60.0, 40], [75, 25], [95, 38], [62, 88], [30, 40], [44, 26]])
SHIFTS = {"hflip": True, "rotate90": True, "shift": 0.7, "zoom": 1.0}
TURNS = {"rotate": 180.0, "shear": 20.0, "hflip": True, "zoom": 0.2}


def heart() -> NDArray[np.uint8]:
    """A picture (100, 140) of a heart."""
    return pixels(polygon(HEART), 140, 100).astype(np.uint8) * 255


def sample(*outlines: Any, picture: NDArray[np.uint8] | None = None, masks: bool = True) -> dict[str, Any]:
    """A picture of the heart with a tight box for each outline, as `FitInto` leaves it."""
    from mmdet.structures.bbox import HorizontalBoxes

    y, x = np.nonzero(heart())
    box = [x.min(), y.min(), x.max() + 1, y.max() + 1]
    instances = [{"bbox": box, **({"mask": outline} if outline else {})} for outline in outlines]
    shown = heart() if picture is None else picture
    results = {
        "img": np.repeat(shown[..., None], 3, axis=2),
        "img_shape": shown.shape,
        "ori_shape": (100, 140),
        "scale_factor": (1.0, 1.0),
        "instances": instances,
        "gt_bboxes": HorizontalBoxes(torch.tensor([box] * len(outlines), dtype=torch.float32).reshape(-1, 4)),
        "gt_bboxes_labels": np.arange(len(outlines)),
        "gt_ignore_flags": np.zeros(len(outlines), bool),
    }
    results = LoadHulls().transform(results)
    return LoadMasks().transform(results) if masks else results


@pytest.mark.parametrize("as_mask", [False, True])
def test_masks_are_drawn_at_the_size_of_the_image(as_mask: bool) -> None:
    outline = mask(heart() > 0) if as_mask else polygon(HEART)
    whole = fitted_mask(outline, (100, 140), (100, 140))
    assert (whole == heart() // 255).all()
    for size in ((50, 70), (33, 140), (20, 28)):
        fitted = fitted_mask(outline, (100, 140), size)
        assert fitted is not None
        expected = cv2.resize(heart(), size[::-1], interpolation=cv2.INTER_AREA) > 127
        shared = (fitted & expected).sum() / (fitted | expected).sum()
        assert shared > 0.85
        # Not moved: a mask that is cut down at the corners of its pixels moves by nearly half a pixel.
        centres = [np.argwhere(each).mean(axis=0) for each in (fitted, expected)]
        np.testing.assert_allclose(*centres, atol=0.3)


@pytest.mark.parametrize(
    "outline",
    [
        None,
        [],
        [[1.0, 2, 3, 4]],
        [[200.0, 200, 210, 200, 205, 210]],
        {"size": [10, 10], "counts": "04"},
        mask(np.zeros((100, 140), bool)),
    ],
)
def test_an_outline_that_cannot_be_used_is_no_mask(outline: Any) -> None:
    results = sample(outline, polygon(HEART)) if outline else sample(None, polygon(HEART))
    assert not results["gt_masks"].masks[0].any()
    assert results["gt_masks"].masks[1].any()


@pytest.mark.parametrize("settings", [SHIFTS, {**SHIFTS, "hflip": False}, TURNS])
def test_a_mask_is_that_of_the_changed_image(settings: dict[str, Any]) -> None:
    """With the mirror images of the heart beyond the edge, each of which has a box and a mask of its own.

    Albumentations mirrors boxes at the edge, and pixels at the last one's centre: a mask ends at its box.
    """
    augment, several = Augment(AugmentConfig(**{**OFF, **settings})), 0
    for seed in range(30):
        results = augment.transform({**sample(polygon(HEART), None), "seed": seed})
        labels, masks = results["gt_bboxes_labels"], results["gt_masks"].masks
        assert masks.shape == (len(labels), *results["img_shape"])
        assert not masks[labels == 1].any()
        shown = masks[labels == 0]
        several += len(shown) > 1
        # Of a heart that is nearly outside, neither a box nor a mask is left.
        visible = np.zeros(results["img_shape"], bool)
        for x1, y1, x2, y2 in results["gt_bboxes"].tensor[labels == 0].numpy():
            around = 2 if settings is TURNS else 0
            top, left = (max(0, int(low) - around) for low in (y1, x1))
            visible[top : int(np.ceil(y2)) + around, left : int(np.ceil(x2)) + around] = True
        assert (shown.sum(axis=0) == (results["img"][..., 0] >= 128) & visible).all()
    assert (several > 0) == (settings is SHIFTS)


def test_masks_do_not_change_what_happens_to_the_image() -> None:
    config = AugmentConfig(**SHIFTS, cutout=0.3, erase=0.3)
    for seed in range(8):
        plain, masked = (
            Augment(config).transform({**sample(polygon(HEART), masks=masks), "seed": seed})
            for masks in (False, True)
        )
        assert (plain["img"] == masked["img"]).all()
        assert (plain["gt_bboxes"].tensor == masked["gt_bboxes"].tensor).all()


def test_a_mask_stays_whole_where_a_rectangle_hides_the_object() -> None:
    augment, hidden = Augment(AugmentConfig(**{**OFF, "cutout": 0.3, "erase": 0.3})), 0
    for seed in range(12):
        results = augment.transform({**sample(polygon(HEART)), "seed": seed})
        hidden += bool((results["img"][heart() > 0] != 255).any())
        for shown in results["gt_masks"].masks:
            assert (shown == heart() // 255).all()
    assert hidden > 3


def source(folder: Path, *, outlined: bool) -> LabelledImage:
    """A bright image with the heart in black."""
    cv2.imwrite(str(folder / "heart.png"), 255 - heart())
    box = np.array([hull(polygon(HEART))])
    boxes = Boxes(box, np.array([0]), outlines=(polygon(HEART),) if outlined else None)
    return LabelledImage(ImageFile("a", folder / "heart.png", 140, 100), boxes)


@pytest.mark.parametrize("outlined", [True, False])
def test_a_pasted_object_brings_its_mask_and_hides_what_is_behind(tmp_path: Path, outlined: bool) -> None:
    config = AugmentConfig(**{**OFF, "copy_paste": 1.0, "hflip": True, "zoom": 0.2})
    paste = PasteObjects(config, [source(tmp_path, outlined=outlined)], {"size": (140, 100)})
    field = mask(np.ones((160, 200), bool))
    grey = np.full((160, 200), 128, np.uint8)
    pasted = 0
    for seed in range(20):
        before = {**sample(field, picture=grey), "ori_shape": (160, 200), "seed": seed}
        before["gt_bboxes"].tensor[:] = torch.tensor([0.0, 0, 5, 5])
        before["gt_masks"].masks[0] = 1
        results = paste.transform(before)
        field_mask, *others = results["gt_masks"].masks
        assert len(results["gt_bboxes"].tensor) == 1 + len(others) == len(results["gt_bboxes_labels"])
        if not others:
            continue
        pasted += 1
        [heart_mask] = others
        assert not (field_mask & heart_mask).any()
        # Where the field shows, it has its grey or that of the soft border of the patch.
        assert (np.abs(results["img"][field_mask > 0][:, 0].astype(int) - 128) <= 64).all()
        assert (results["img"][field_mask == 0][:, 0] != 128).mean() > 0.95
        if outlined:
            dark = results["img"][..., 0] < 64
            assert (dark & heart_mask).sum() > 0.9 * (dark | (heart_mask > 0)).sum()
            x1, y1, x2, y2 = results["gt_bboxes"].tensor[1].numpy()
            y, x = np.nonzero(heart_mask)
            around = [x.min(), y.min(), x.max() + 1, y.max() + 1]
            np.testing.assert_allclose(around, [x1, y1, x2, y2], atol=1.5)
        else:
            assert not heart_mask.any()
            assert not field_mask.all()
    assert pasted > 10


def test_pictures_of_the_trainings(tmp_path: Path) -> None:
    """The masks of the pictures on which the small Mask R-CNN is trained cover their shapes."""
    [item] = outlined_set(tmp_path, 1, 3)
    assert item.boxes.outlines is not None
    shown = cv2.imread(str(item.image.path))
    disc, triangle = (pixels(outline, 96, 64) for outline in item.boxes.outlines if outline)
    assert (shown[disc] == (230, 200, 40)).all()
    assert (shown[triangle] == (40, 200, 230)).all()
    assert ((shown == (230, 200, 40)).all(axis=2) == disc).all()
