"""Predicted masks as pixels: the rule of mmdet, and outlines of the whole image."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco

from al_loop.state.prediction_store import ShardStore
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import Prediction
from al_loop.structures.masks import SIDE, outline_in, pixel_probabilities

FULL = np.full(SIDE**2, 255, np.uint8)


def smooth(seed: int) -> NDArray[np.uint8]:
    """A mask whose probabilities change slowly, so that its pixels depend on the interpolation."""
    import cv2

    coarse = np.random.default_rng(seed).uniform(0, 255, (5, 5)).astype(np.float32)
    fine = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(fine), 0, 255).astype(np.uint8).ravel()


def test_interpolation_by_hand() -> None:
    """A box with as many pixels as cells shows the cells; one of half the size their means."""
    mask = np.arange(SIDE**2) % 256
    at = pixel_probabilities(mask.astype(np.uint8), np.array([3.0, 5, 31, 33]), (3, 5, 31, 33))
    np.testing.assert_allclose(at * 255, mask.reshape(SIDE, SIDE), atol=1e-9)
    columns = np.tile(np.arange(SIDE, dtype=np.uint8), (SIDE, 1)).ravel()
    half = pixel_probabilities(columns, np.array([0.0, 0, 14, 14]), (0, 0, 14, 14))
    np.testing.assert_allclose(half[7] * 255, 2 * np.arange(14) + 0.5, atol=1e-9)
    # Beyond the centres of the outer cells the probability falls to 0 within a cell.
    outside = pixel_probabilities(FULL, np.array([10.0, 10, 38, 38]), (9, 20, 12, 21))
    np.testing.assert_allclose(outside, [[0, 1, 1]], atol=1e-9)
    double = pixel_probabilities(FULL, np.array([10.0, 10, 66, 66]), (9, 30, 12, 31))
    np.testing.assert_allclose(double, [[0.25, 0.75, 1]], atol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_pixels_are_those_of_mmdet(seed: int) -> None:
    import torch

    importlib.import_module("al_loop.detector")  # provides the operators of mmcv
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, 2)
    box = np.concatenate([low, np.minimum(low + rng.uniform(0.7, 90, 2), (100, 80))])
    mask = smooth(seed)
    grid = torch.from_numpy(mask.reshape(1, 1, SIDE, SIDE)) / 255
    [expected] = _do_paste_mask(grid, torch.from_numpy(box)[None].float(), 80, 100, skip_empty=False)[0]
    probabilities = pixel_probabilities(mask, box, (0, 0, 100, 80))
    np.testing.assert_allclose(probabilities, expected.numpy(), atol=1e-4)
    sure = np.abs(expected.numpy() - 0.5) > 1e-4
    outline = outline_in(mask, box, 100, 80)
    pixels = np.zeros((80, 100), bool) if outline is None else coco.decode(outline).astype(bool)
    assert (pixels == (expected.numpy() >= 0.5))[sure].all()
    assert sure.mean() > 0.99


def test_a_mask_that_covers_no_pixel_has_no_outline() -> None:
    assert outline_in(np.full(SIDE**2, 100, np.uint8), np.array([2.0, 2, 9, 9]), 20, 20) is None
    # Smaller than a pixel, between the centres of two.
    assert outline_in(FULL, np.array([2.6, 2.6, 3.2, 3.2]), 20, 20) is None
    outline = outline_in(FULL, np.array([2.2, 2.2, 3.2, 3.2]), 20, 20)
    assert outline is not None
    assert segmentation.area(outline) == 1


@pytest.mark.parametrize(("left", "top"), [(0, 0), (3, 2), (3, 7), (13, 2), (13, 7)])
def test_an_outline_at_a_place_is_that_of_the_whole_image(left: int, top: int) -> None:
    rng = np.random.default_rng(left)
    for share in (0.0, 0.3, 0.9, 1.0):
        pixels = rng.random((5, 7)) < share
        image = np.zeros((12, 20), bool)
        image[top : top + 5, left : left + 7] = pixels
        outline = segmentation.mask_at(pixels, left, top, 20, 12)
        assert outline == segmentation.mask(image)
        assert (coco.decode(outline) == image).all()


def test_stored_masks_become_outlines(tmp_path: Path, make_boxes: Callable[..., Boxes]) -> None:
    """A box of an image twice as large, and a mask of its left half; another without a pixel."""
    left = np.zeros((SIDE, SIDE), np.uint8)
    left[:, :14] = 255
    boxes = make_boxes((2, 4, 30, 32, 0, 0.9), (0, 0, 8, 8, 1, 0.4))
    masks = np.stack([left.ravel(), np.zeros(SIDE**2, np.uint8)])
    shares = np.full((2, 3), 1 / 3, np.float32)
    store = ShardStore(tmp_path)
    none = Prediction("b", Boxes(), shares[:0], np.zeros(2, np.float32), masks=masks[:0])
    store.append([none, Prediction("a", boxes, shares, np.zeros(2, np.float32), masks=masks)])
    outlined = store.load().outlined_boxes(1, 40, 36)
    np.testing.assert_array_equal(outlined.xyxy, boxes.xyxy)
    assert outlined.outlines is not None
    first, second = outlined.outlines
    expected = np.zeros((36, 40), bool)
    expected[4:32, 2:16] = True
    assert isinstance(first, dict)
    assert (coco.decode(first) == expected).all()
    assert second is None
    assert store.load().outlined_boxes(0, 40, 36).outlines == ()
    above = outlined.above(0.5)
    assert above.outlines == (first,)
    assert outlined.take(np.array([False, True])).outlines is None
