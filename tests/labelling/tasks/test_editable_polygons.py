"""Polygons that a person can edit: how well they fit, and that they are polygons at all."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from al_loop.labelling.tasks.editable_polygons import editable_polygon
from render.annotation.masks import fill, outer_rings

HEIGHT, WIDTH = 400, 640


def predicted(waves: int, depth: float, width: int, height: int) -> np.ndarray:
    """A mask as a model predicts it: 28x28 probabilities with noise, enlarged to a box, from 0.5 on.

    waves, depth: number of arms of a star, and their length as a share of its radius.
    """
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    radius = 0.85 - depth / 2 + depth / 2 * np.cos(waves * np.arctan2(y, x))
    score = 1 / (1 + np.exp(12 * (np.hypot(x, y) - radius)))
    score += np.random.default_rng(waves).normal(0, 0.05, score.shape)
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[50 : 50 + height, 90 : 90 + width] = cv2.resize(score, (width, height)) >= 0.5
    return mask


def filled(points: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return fill((tuple(points.ravel().tolist()),), *mask.shape)


def overlap(points: np.ndarray, mask: np.ndarray) -> float:
    covered = filled(points, mask)
    return float((covered & mask).sum() / (covered | mask).sum())


@pytest.mark.parametrize(
    ("waves", "depth", "size", "most", "least"),
    [
        (0, 0.0, (320, 260), 20, 0.98),  # a disc: more than twenty points hide its edge
        (0, 0.0, (60, 48), 20, 0.98),
        (3, 0.3, (320, 260), 40, 0.985),
        (5, 0.6, (320, 260), 40, 0.975),  # a star with five deep arms
        (5, 0.6, (60, 48), 40, 0.98),
        (5, 0.6, (20, 16), 20, 0.98),
    ],
)
def test_forty_points_fit_a_predicted_mask(
    waves: int, depth: float, size: tuple[int, int], most: int, least: float
) -> None:
    mask = predicted(waves, depth, *size)
    points, iou = editable_polygon(mask, 40)
    assert len(points) <= most
    assert shapely.Polygon(points).is_valid
    assert iou == overlap(points, mask)
    assert iou >= least


def test_the_corners_are_fitted() -> None:
    """Simplified alone, the polygon of a disc lies inside it, and noise makes it worse."""
    mask = predicted(3, 0.3, 320, 260)
    edge = max((shapely.Polygon(ring) for ring in outer_rings(mask)), key=lambda part: float(part.area))
    tolerances = np.geomspace(1, 16, 40)
    alone = [np.array(edge.simplify(tolerance).exterior.coords)[:-1] for tolerance in tolerances]
    best = max(overlap(points, mask) for points in alone if len(points) <= 12)
    assert 1 - editable_polygon(mask, 12)[1] < 0.8 * (1 - best)


def test_holes_and_other_parts_lower_the_overlap() -> None:
    mask = np.zeros((60, 100), np.bool_)
    mask[10:50, 10:50] = True
    mask[20:30, 20:40] = False
    mask[0:10, 60:100] = True
    points, iou = editable_polygon(mask, 40)
    assert {tuple(point) for point in points} == {(10, 10), (50, 10), (50, 50), (10, 50)}
    assert iou == (1600 - 200) / (1600 + 400)


def test_parts_that_touch_at_a_corner_are_two() -> None:
    mask = np.zeros((9, 9), np.bool_)
    mask[1:3, 1:3] = mask[3:8, 3:8] = True
    points, iou = editable_polygon(mask, 40)
    assert {tuple(point) for point in points} == {(3, 3), (8, 3), (8, 8), (3, 8)}
    assert iou == 25 / 29


@pytest.mark.integration
@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(3, 40))
def test_any_mask_has_a_polygon(mask: np.ndarray, most: int) -> None:
    """Also pixels alone, lines, and the whole image."""
    assume(mask.any())
    points, iou = editable_polygon(mask, most)
    assert 3 <= len(points) <= most
    assert shapely.Polygon(points).is_valid
    assert (points >= 0).all()
    assert (points <= [mask.shape[1], mask.shape[0]]).all()
    assert iou == overlap(points, mask)
    assert 0 <= iou <= 1
