"""Outlines as pixels."""

from __future__ import annotations

import numpy as np
import pytest

from al_loop.structures import segmentation


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ((1.5, 2.0, 3.2, 5.0), (1, 2, 4, 5)),
        ((6, 4, 10, 8), (6, 4, 10, 8)),  # in the last corner
        ((2, 3, 5, 8), (2, 3, 5, 8)),  # at the lower edge
        ((-3, -2, 1, 1), (0, 0, 1, 1)),
        ((0, 0, 0, 0), (0, 0, 0, 0)),
        ((0, 0, 10, 8), (0, 0, 10, 8)),
    ],
)
def test_a_rectangle_covers_the_pixels_that_it_touches(
    box: tuple[float, ...], pixels: tuple[int, ...]
) -> None:
    x1, y1, x2, y2 = pixels
    expected = np.zeros((8, 10), np.bool_)
    expected[y1:y2, x1:x2] = True
    found = segmentation.rectangle(np.array(box, float), 10, 8)
    np.testing.assert_array_equal(segmentation.pixels(found, 10, 8), expected)


def test_the_box_around_an_outline_is_around_all_its_parts() -> None:
    parts = [[0.0, 1, 5, 1, 5, 5], [10.0, 10, 20, 10, 20, 30.5]]
    assert segmentation.hull(parts).tolist() == [0, 1, 20, 30.5]
    # 5 px of nothing, then 10 px: of the first column, from row 5 on.
    assert segmentation.hull({"size": [80, 100], "counts": [5, 10, 7985]}).tolist() == [0, 5, 1, 15]


def test_a_polygon_is_filled_by_the_even_odd_rule() -> None:
    ring = [1.0, 1, 9, 1, 9, 7, 1, 7]
    hole = [3.0, 3, 6, 3, 6, 5, 3, 5]
    assert segmentation.pixels([ring], 10, 8).sum() == 8 * 6
    joined = [*ring, *ring[:2], *hole, *hole[:2]]
    assert segmentation.pixels([joined], 10, 8).sum() == 8 * 6 - 3 * 2
    assert segmentation.union([[ring], [hole]], 10, 8).sum() == 8 * 6
    assert segmentation.union([], 10, 8).sum() == 0
