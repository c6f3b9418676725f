"""Augmented copies of a picture: a block stays under its box when the box is moved back."""

from __future__ import annotations

import numpy as np
import pytest

from al_loop.detector.inference.tta import _AUGMENTATIONS, augment, boxes_in_original
from al_loop.structures.images import AUGMENTATIONS

WIDTH, HEIGHT = 200, 120


def picture() -> np.ndarray:  # type: ignore[type-arg]
    made = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    made[30:50, 150:180] = 255
    return made


def test_the_names_of_the_augmentations() -> None:
    assert tuple(_AUGMENTATIONS) == AUGMENTATIONS


@pytest.mark.parametrize("name", ["flip", "smaller", "turn", "noise"])
def test_a_box_in_the_copy_moves_back_to_its_place(name: str) -> None:
    copy = augment(name, picture(), "a")
    bright = copy.max(axis=2) > 128
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    scale = WIDTH / copy.shape[1]  # as boxes of a shrunk picture are scaled back
    found = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]]) * scale
    [back] = boxes_in_original(name, found.astype(float), WIDTH, HEIGHT)
    slack = 4.0 if name == "turn" else 1.3  # an upright box around a turned one around a turned block
    np.testing.assert_allclose(back, [150, 30, 180, 50], atol=slack)
    middle = (back[:2] + back[2:]) / 2
    np.testing.assert_allclose(middle, [165, 40], atol=1.0)


@pytest.mark.parametrize("size", [(1, 9000), (9000, 1), (1, 1)])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_pictures_of_one_row_have_copies(name: str, size: tuple[int, int]) -> None:
    assert min(augment(name, np.full((*size, 3), 9, np.uint8), "a").shape[:2]) == 1


def test_a_copy_depends_on_the_image_alone() -> None:
    for name in ("cutout", "noise"):
        one, same, other = (augment(name, picture(), image) for image in ("a", "a", "b"))
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()
        assert (one != picture()).any()


def test_holes_are_cut_and_the_rest_stays() -> None:
    copy = augment("cutout", picture(), "a")
    grey = (copy == 128).all(axis=2)
    assert 0.015 < grey.mean() < 0.06
    np.testing.assert_array_equal(copy[~grey], picture()[~grey])
