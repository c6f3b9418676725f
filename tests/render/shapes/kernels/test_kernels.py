"""What shapes are made with: filled outlines, plates, bodies as functions, panels cut from a skin."""

import math

import numpy as np
import pytest
from support.watertight import euler, is_closed

from render.shapes.kernels.constrain import constrain_triangulation
from render.shapes.kernels.implicit import Outline, blended_max, skin
from render.shapes.kernels.panels import Skin
from render.shapes.kernels.patches import join
from render.shapes.kernels.planar import circle, densify, fill, inset, rounded_rectangle
from render.shapes.kernels.solids import plate
from render.shapes.kernels.surface import polygons


def area(loop):
    x, y = loop.T
    return 0.5 * float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def filled(points, triangles):
    a, b, c = (points[triangles[:, i]] for i in range(3))
    return 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])


def test_a_filled_outline_covers_it_without_its_holes():
    """The holes are much nearer to the coarse sides than these are long."""
    outer = np.array([(0.0, 0.0), (4.0, 0.0), (4.0, 2.0), (1.0, 2.0), (1.0, 1.0), (0.0, 1.0)])
    holes = [circle(0.45, 40, (0.5, 0.5)), circle(0.9, 7, (2.5, 1.0))]
    covered = filled(*fill(outer, holes))
    assert covered.min() > 0
    assert covered.sum() == pytest.approx(area(outer) - area(holes[0]) - area(holes[1]), rel=1e-9)


def test_outlines_that_cross_are_refused():
    with pytest.raises(ValueError, match="do not cross"):
        fill(np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]), [circle(0.2, 12, (1.0, 0.5))])


def test_a_wanted_side_replaces_the_other_diagonal():
    points = np.array([(0.0, 0.0), (2.0, 0.0), (2.0, 1.0), (0.0, 1.0)])
    made = constrain_triangulation(points, np.array([(0, 1, 2), (0, 2, 3)]), [(1, 3)])
    assert sorted(tuple(sorted(t)) for t in made.tolist()) == [(0, 1, 3), (1, 2, 3)]
    assert filled(points, made) == pytest.approx([1.0, 1.0])


def test_an_inset_square_is_smaller_all_around():
    loop = densify(np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]), 0.25)
    assert len(loop) == 16
    small = inset(loop, 0.1)
    assert area(small) == pytest.approx(0.64)
    assert small.min(axis=0) == pytest.approx([0.1, 0.1])


def test_a_chamfered_plate_loses_its_edges():
    """Chamfers of 0.1 around a 2 x 1 plate of 0.5: twice the rim, triangles of 0.005, less at corners.

    A frustum of height c between areas A and B holds c (A + B + √(A B)) / 3 only for similar ones; so the
    slices (2 - 2 t)(1 - 2 t) are integrated over t from 0 to 0.1: 0.2 - 0.03 + 0.004 / 3.
    """
    made = join(plate(np.array([(0.0, 0.0), (2.0, 0.0), (2.0, 1.0), (0.0, 1.0)]), [], 0.5, 0.1))
    assert is_closed(made)
    assert made.volume == pytest.approx(0.3 * 2 + 2 * (0.2 - 0.03 + 0.004 / 3))


def test_a_rounded_rectangle_has_the_area_of_one():
    loop = rounded_rectangle((-1.0, -0.5), (1.0, 0.5), 0.3, 40)
    assert area(loop) == pytest.approx(2 - (4 - math.pi) * 0.09, rel=1e-3)
    assert np.abs(loop).max(axis=0) == pytest.approx([1.0, 0.5])


def test_a_tabulated_outline_is_a_distance():
    table = Outline(circle(0.3, 400))
    at = np.array([0.0, 0.1, 0.3, 0.35])
    assert table(at, np.zeros(4)) == pytest.approx([-0.3, -0.2, 0.0, 0.05], abs=2e-3)


def test_blending_rounds_only_near_the_edge():
    a, b = np.array([1.0, 0.0]), np.array([0.0, 0.0])
    assert blended_max(a, b, 0.2) == pytest.approx([1.0, 0.05])


def ball(points):
    return np.linalg.norm(points, axis=1) - 0.4


def test_the_skin_of_a_ball_is_a_ball():
    points, quads = skin(ball, (-0.5,) * 3, (0.5,) * 3, 0.0503)
    made = polygons(points, quads)
    assert is_closed(made)
    assert np.linalg.norm(points, axis=1) == pytest.approx(0.4, abs=1e-6)
    assert made.volume == pytest.approx(4 / 3 * math.pi * 0.064, rel=0.02)


def test_a_skin_is_split_along_a_plane_with_a_gap():
    """Zones of a ball: their area is 2 pi r times their height."""
    points, quads = skin(ball, (-0.5,) * 3, (0.5,) * 3, 0.0203)
    whole = Skin(ball, points, np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]]))
    upper, lower = whole.split(lambda p: 0.1 - p[:, 2], 0.02)
    for part, height in ((upper, 0.3 - 0.01), (lower, 0.5 - 0.01)):
        a, b, c = (part.points[part.triangles[:, i]] for i in range(3))
        assert np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 == pytest.approx(
            2 * math.pi * 0.4 * height, rel=0.01
        )
        shell = join(part.without_splinters().solid(0.02))
        assert is_closed(shell)
        # Between spheres of 0.4 and 0.38.
        assert shell.volume == pytest.approx(2 * math.pi / 3 * (0.4**3 - 0.38**3) * height / 0.4, rel=0.02)
    assert upper.points[:, 2].min() == pytest.approx(0.11, abs=1e-3)
    assert lower.points[:, 2].max() == pytest.approx(0.09, abs=1e-3)


def test_corners_that_only_touch_are_taken_apart():
    """Two triangles that share a single vertex would give its wall four faces."""
    points = np.array([(0, 0, 0.4), (0.1, 0, 0.39), (0.1, 0.1, 0.37), (-0.1, 0, 0.39), (-0.1, -0.1, 0.37)])
    made = join(Skin(ball, points, np.array([(0, 1, 2), (0, 3, 4)])).without_splinters().solid(0.02))
    assert is_closed(made)
    assert euler(made) == 4
