"""Predicted masks: probabilities on a grid of cells inside each box, and the pixels that they cover."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from al_loop.structures.boxes import Boxes, FloatArray, Outline
from al_loop.structures.segmentation import mask_at

#: Cells of a mask along each side of its box.
SIDE = 28
#: A pixel belongs to the object from this probability on.
THRESHOLD = 0.5


def rounded(probabilities: NDArray[Any]) -> NDArray[np.uint8]:
    """Return probabilities in [0, 1] as whole numbers of 255."""
    return np.asarray(np.rint(probabilities * 255), np.uint8)


def with_masks(boxes: Boxes, masks: Iterable[NDArray[np.uint8]], width: int, height: int) -> Boxes:
    """Return boxes with their predicted masks as outlines, in an image of width x height px.

    masks: of each box, see `outline_in`. The outline of a box whose mask covers no pixel is None.
    """
    pairs = zip(masks, boxes.xyxy, strict=True)
    return replace(boxes, outlines=tuple(outline_in(mask, box, width, height) for mask, box in pairs))


def outline_in(mask: NDArray[np.uint8], box: FloatArray, width: int, height: int) -> Outline | None:
    """Return the pixels of a predicted mask in an image of width x height px. None if there are none.

    mask: (SIDE, SIDE) of 255, or its rows one after another.  box: xyxy (4,) px.
    """
    left, top = (max(0, math.floor(low)) for low in box[:2])
    right, bottom = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
    covered = pixel_probabilities(mask, box, (left, top, right, bottom)) >= THRESHOLD
    return mask_at(covered, left, top, width, height) if covered.any() else None


def pixel_probabilities(
    mask: NDArray[np.uint8], box: FloatArray, window: tuple[int, int, int, int]
) -> FloatArray:
    """Return the probability of the object at each pixel of a window, (h, w), in [0, 1].

    mask, box: as for `outline_in`.  window: left, top, right, bottom px.
    The probability at the centre of a pixel is interpolated between the centres of the cells, and falls to 0
    beyond the outer centres: outside the box it is below THRESHOLD. Source: `paste_masks_in_image` of
    Detectron2, as in mmdet.
    """
    grid = np.asarray(mask, np.float64).reshape(SIDE, SIDE) / 255
    rows = _shares(box[1], box[3], window[1], window[3])
    columns = _shares(box[0], box[2], window[0], window[2])
    return np.asarray(rows @ grid @ columns.T)


def _shares(low: float, high: float, first: int, last: int) -> FloatArray:
    """Return the shares of cells between two sides of a box in the pixels from first to last, (n, SIDE)."""
    at = (np.arange(first, last) + 0.5 - low) * (SIDE / (high - low)) - 0.5  # in cells, from the first centre
    return np.maximum(0.0, 1 - np.abs(at[:, None] - np.arange(SIDE)))
