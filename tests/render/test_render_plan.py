import math
from itertools import combinations

import msgspec
import numpy as np
import pytest

from render import SceneSpec, parse_recipe, plan
from render.die import FACES, PIPS, frame, rotation, surface, upper_face
from render.placement import Square, overlap
from render.projection import on_table, project
from render.spec import CameraSpec

CROWD = {
    "name": "crowd",
    "dice": {"count": 14, "edge_m": {"uniform": [0.012, 0.018]}, "gap_m": 0.001},
    "camera": {"view_m": 0.2, "tilt_deg": {"uniform": [0, 30]}, "azimuth_deg": {"uniform": [-180, 180]}},
    "distractors": {"count": 3},
}


def test_a_plan_depends_on_recipe_seed_and_index_alone():
    recipe = parse_recipe(CROWD)
    first = plan(recipe, 7, 3)
    for index in range(3):
        plan(recipe, 7, index)
    assert plan(recipe, 7, 3) == first
    assert plan(recipe, 7, 4).dice != first.dice
    assert plan(recipe, 8, 3).dice != first.dice


def test_a_plan_survives_json():
    spec = plan(parse_recipe(CROWD), 0, 0)
    assert len(spec.dice) == 14
    assert msgspec.json.decode(msgspec.json.encode(spec), type=SceneSpec) == spec


def test_dice_lie_flat_apart_and_in_view():
    recipe = parse_recipe(CROWD)
    tops = []
    for index in range(8):
        spec = plan(recipe, 1, index)
        circles = [(die.location, die.edge_m) for die in spec.dice]
        for (a, edge_a), (b, edge_b) in combinations(circles, 2):
            # Closer than their inscribed circles, two squares surely overlap.
            assert math.dist(a[:2], b[:2]) > (edge_a + edge_b) / 2
        for die in spec.dice:
            assert die.location[2] == pytest.approx(die.edge_m / 2)
            foot = np.array([[die.location[0], die.location[1], 0.0]])
            x, y = project(spec.camera, spec.width, spec.height, foot)[0]
            assert 0 <= x <= spec.width
            assert 0 <= y <= spec.height
            tops.append(upper_face(np.reshape(die.rotation, (3, 3))))
    assert set(tops) == {1, 2, 3, 4, 5, 6}


def test_dice_stay_in_the_tray():
    table = {**CROWD, "surface": {"kind": "tray", "tray_m": 0.12, "tray_aspect": 0.75, "tray_yaw_deg": 30}}
    spec = plan(parse_recipe(table), 0, 0)
    c, s = math.cos(math.radians(30)), math.sin(math.radians(30))
    assert spec.dice
    for die in spec.dice:
        x, y, _ = die.location
        assert abs(c * x + s * y) <= 0.06 - die.edge_m / 2
        assert abs(-s * x + c * y) <= 0.045 - die.edge_m / 2


def test_impossible_placement_ends_and_is_counted():
    spec = plan(parse_recipe({"name": "full", "dice": {"count": 60, "edge_m": 0.05}}), 0, 0)
    assert 1 <= len(spec.dice) < 60
    assert spec.unplaced == 60 - len(spec.dice)


def test_squares_overlap_by_their_sides_not_their_circles():
    a = Square(0, 0, 1, 0)
    assert overlap(a, Square(1.9, 1.9, 1, 0), 0)
    assert not overlap(a, Square(2.1, 0, 1, 0), 0.05)
    assert overlap(a, Square(2.1, 0, 1, 0), 0.2)
    # A square on its corner reaches sqrt(2) to the side.
    assert overlap(a, Square(2.3, 0, 1, math.pi / 4), 0)
    assert not overlap(a, Square(2.5, 0, 1, math.pi / 4), 0)


def test_the_die_is_a_die():
    for value, (normal, _) in FACES.items():
        assert FACES[7 - value][0] == tuple(-n for n in normal)
        assert len(PIPS[value]) == value == len(set(PIPS[value]))
        assert np.linalg.det(frame(value)) == pytest.approx(1)
        assert upper_face(rotation(value, 1.234)) == value


def test_the_surface_is_closed_points_outwards_and_has_its_pips_inside():
    made = surface(0.1, 1.5, 0.1, 0.05, 24)
    a, b, c, d = (made.vertices[made.quads[:, i]] for i in range(4))
    # Volume by the divergence theorem: positive only if every face looks outwards, right only if closed.
    volume = sum(np.einsum("ij,ij->i", p, np.cross(q, r)).sum() / 6 for p, q, r in ((a, b, c), (a, c, d)))
    assert 0.8 < volume < 0.97
    edges = np.sort(np.concatenate([made.quads[:, [i, (i + 1) % 4]] for i in range(4)]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    centre = made.vertices[np.argmin(np.abs(made.vertices - (0, 0, 0.45)).sum(axis=1))]
    assert centre == pytest.approx((0, 0, 0.45), abs=1e-6)  # the one, 0.05 deep


def test_projection_by_hand():
    # 36 mm lens and sensor, 1 m up: 1 m of table spans the picture's 100 px; north is up.
    camera = CameraSpec((0.0, 0.0, 0.0), 1.0, 0.0, -math.pi / 2, 0.0, 36.0)
    points = np.array([[0.1, 0.2, 0.0], [0.1, 0.2, 0.5]])
    assert project(camera, 100, 80, points) == pytest.approx(np.array([[60.0, 20.0], [70.0, 0.0]]))
    assert on_table(camera, 100, 80, np.array([60.0, 20.0])) == pytest.approx(np.array([0.1, 0.2, 0.0]))
    level = CameraSpec((0.0, 0.0, 0.0), 1.0, math.radians(70), -math.pi / 2, 0.0, 36.0)
    assert on_table(level, 100, 100, np.array([50.0, 0.0])) is None  # above the horizon
