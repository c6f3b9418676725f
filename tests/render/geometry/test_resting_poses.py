"""Stable poses against solid angles and balance worked out by hand."""

import math

import numpy as np
import pytest

from render.geometry.resting_poses import LEFT_OUT, centre_of_mass, resting


def corners(x, y, z):
    """The eight corners of a box around the origin."""
    return np.array([(a, b, c) for a in (-x / 2, x / 2) for b in (-y / 2, y / 2) for c in (-z / 2, z / 2)])


def ups(rests):
    """The directions, in the body's frame, that point up in each pose."""
    return np.array([np.reshape(r.rotation, (3, 3))[2] for r in rests])


def share(a, b, distance):
    """The share of all directions that a rectangle of sides 2 a, 2 b takes, seen from above its middle."""
    return 4 * math.asin(a * b / math.sqrt((a * a + distance**2) * (b * b + distance**2))) / (4 * math.pi)


@pytest.mark.parametrize("unit", [1.0, 0.001])
def test_a_box_lies_on_its_six_faces_as_often_as_their_solid_angles_say(unit):
    rests = resting(corners(1 * unit, 2 * unit, 3 * unit))
    assert len(rests) == 6
    for up, rest in zip(ups(rests), rests, strict=True):
        expected = {0: share(1, 1.5, 0.5), 1: share(0.5, 1.5, 1), 2: share(0.5, 1, 1.5)}
        assert rest.weight == pytest.approx(expected[int(abs(up).argmax())], abs=1e-6)
        assert abs(up).max() == pytest.approx(1)
    # The likeliest first; of opposite sides, one may be the likelier in its last bit.
    assert (np.diff([r.weight for r in rests]) < 1e-9).all()


def test_every_rotation_is_proper_and_the_shortest():
    for up, rest in zip(ups(rests := resting(corners(1, 2, 3))), rests, strict=True):
        turn = np.reshape(rest.rotation, (3, 3))
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1)
        # The trace of a rotation is 1 + 2 cos(angle), and the angle between up and z is the least there is.
        assert (np.trace(turn) - 1) / 2 == pytest.approx(up[2], abs=1e-9)
    upright = [r for up, r in zip(ups(rests), rests, strict=True) if up[2] > 0.99]
    assert upright[0].rotation == (1, 0, 0, 0, 1, 0, 0, 0, 1)


def test_a_heavy_side_lies_below():
    """A cube whose mass sits 0.05 before its +x face: that face is seen under 4 asin(.25 / .2525)."""
    rests = resting(corners(1, 1, 1), np.array([0.45, 0.0, 0.0]))
    np.testing.assert_allclose(ups(rests)[0], (-1, 0, 0), atol=1e-9)
    assert rests[0].weight == pytest.approx(math.asin(0.25 / 0.2525) / math.pi, abs=1e-6)


def test_a_leaning_body_does_not_stand_on_its_base():
    """Sheared by 1.5 of its height, the centre of mass is 0.25 beyond the base: it topples."""
    leaning = corners(1, 1, 1)
    leaning[:, 0] += 1.5 * (leaning[:, 2] + 0.5)
    assert abs(ups(resting(leaning))[:, 2]).max() < 0.9
    steady = corners(1, 1, 1)
    steady[:, 0] += 0.9 * (steady[:, 2] + 0.5)
    assert ups(resting(steady))[:, 2].max() == pytest.approx(1)


def test_a_centre_outside_counts_for_nothing():
    assert resting(corners(1, 2, 3), np.array([9.0, 0.0, 0.0])) == resting(corners(1, 2, 3))


def test_rare_poses_go_and_the_weights_still_sum_to_one():
    rests = resting(corners(1, 1, 8))
    on_end = share(0.5, 0.5, 4)
    assert on_end < 0.01
    assert len(rests) == 4
    assert sum(r.weight for r in rests) == pytest.approx(1)


def rod(sides, radius, length):
    angles = 2 * math.pi * np.arange(sides) / sides
    ring = np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)
    return np.concatenate([np.column_stack([ring, np.full(sides, end)]) for end in (-length / 2, length / 2)])


@pytest.mark.integration
@pytest.mark.parametrize("sides", [36, 200])
def test_a_rod_rolls_although_each_of_its_facets_is_rare(sides):
    rests = resting(rod(sides, 0.01, 0.03))
    flat = sum(r.weight for up, r in zip(ups(rests), rests, strict=True) if abs(up[2]) < 0.01)
    # An end's disc is seen from the middle under 2 pi (1 - cos(atan(r / (l / 2)))).
    ends = 1 - math.cos(math.atan(0.01 / 0.015))
    assert flat == pytest.approx(1 - ends, abs=LEFT_OUT)
    assert len(rests) <= 2 + 72


@pytest.mark.integration
def test_a_ball_lies_anyhow_in_little_time():
    points = np.random.default_rng(0).standard_normal((3000, 3))
    rests = resting(points / np.linalg.norm(points, axis=1, keepdims=True))
    assert len(rests) > 100
    assert np.linalg.norm(sum(np.array(r.weight) * up for up, r in zip(ups(rests), rests, strict=True))) < 0.1


def test_a_sheet_lies_on_either_side():
    flat = np.array([(0, 0, 0), (1, 0, 1), (1, 1, 1), (0, 1, 0)], float)
    rests = resting(flat)
    assert [r.weight for r in rests] == [0.5, 0.5]
    np.testing.assert_allclose(abs(ups(rests) @ np.array([-1, 0, 1]) / math.sqrt(2)), 1)


def test_a_point_or_a_line_stays_as_it_is():
    for vertices in (np.zeros((3, 3)), np.array([(0.0, 0, 0), (1, 1, 1), (2, 2, 2)])):
        (rest,) = resting(vertices)
        assert rest.rotation == (1, 0, 0, 0, 1, 0, 0, 0, 1)


def test_drops_are_counted_at_the_pose_they_ended_nearest_to():
    """Three of four on the broad side, one on its edge by 10 degrees; what leans by 30 counts for nothing."""
    tilt, lean = np.radians(10), np.radians(30)
    landed = np.array(
        [
            (1, 0, 0),
            (1, 0, 0),
            (math.cos(tilt), math.sin(tilt), 0),
            (0, 0, 1),
            (0, math.cos(lean), math.sin(lean)),
        ]
    )
    rests = resting(corners(1, 2, 3), landed=landed)
    np.testing.assert_allclose(ups(rests), [(1, 0, 0), (0, 0, 1)], atol=1e-9)
    assert [r.weight for r in rests] == [0.75, 0.25]


def test_where_no_drop_ended_on_a_stable_pose_solid_angles_tell():
    leaning = np.array([(0, math.sqrt(0.5), math.sqrt(0.5))])
    assert resting(corners(1, 2, 3), landed=leaning) == resting(corners(1, 2, 3))


def test_a_closed_surface_has_a_centre_of_mass_and_an_open_one_none():
    """A tetrahedron's is the mean of its corners."""
    tetrahedron = np.array([(0, 0, 0), (1, 0, 0), (0, 2, 0), (0, 0, 3)], float)
    faces = np.array([(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)])
    np.testing.assert_allclose(centre_of_mass(tetrahedron, faces), (0.25, 0.5, 0.75))
    assert centre_of_mass(tetrahedron, faces[1:]) is None
    assert centre_of_mass(tetrahedron, faces[:, ::-1]) is None
