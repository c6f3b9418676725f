import math
from itertools import combinations
from pathlib import Path

import msgspec
import numpy as np
import pytest

from render import SceneSpec, load_assets, parse_recipe, plan
from render.assets.bodies import body_of
from render.core.spec import MeshSpec
from render.geometry.placement import GroundArea, tray_floor, window
from render.geometry.projection import project
from render.geometry.transforms import about, footprint, scale_of, to_world

CROWD = {
    "name": "crowd",
    "parts": [
        {"name": "die", "shape": "die", "label": "state", "count": 14, "size_m": {"uniform": [0.012, 0.018]}},
    ],
    "cameras": [{"view_m": 0.2, "tilt_deg": {"uniform": [0, 30]}, "azimuth_deg": {"uniform": [-180, 180]}}],
    "distractors": {"count": 3},
}
NOWHERE = Path("/nowhere")
DIE_MESH = MeshSpec(shape="die", form={})
RNG = np.random.default_rng(0)


def scenes(table, count=1, seed=0):
    recipe = parse_recipe(table)
    assets = load_assets(recipe, NOWHERE)
    return [plan(recipe, assets, seed, index) for index in range(count)]


def parts(spec):
    return [thing for thing in spec.objects if thing.role == "part"]


def place(thing):
    return np.reshape(thing.pose, (3, 4))[:, 3]


@pytest.mark.integration
def test_a_plan_depends_on_recipe_seed_and_scene_alone():
    recipe = parse_recipe(CROWD)
    assets = load_assets(recipe, NOWHERE)
    first = plan(recipe, assets, 7, 3)
    for index in range(3):
        plan(recipe, assets, 7, index)
    assert plan(recipe, assets, 7, 3) == first
    assert plan(recipe, assets, 7, 4).objects != first.objects
    assert plan(recipe, assets, 8, 3).objects != first.objects


def test_a_change_of_light_moves_no_part():
    (plain,) = scenes(CROWD)
    (lit,) = scenes({**CROWD, "light": {"lamps": [{"count": 5}, {"kind": "sun"}]}})
    assert lit.light != plain.light
    assert lit.objects == plain.objects


def test_a_plan_survives_json():
    (spec,) = scenes(CROWD)
    assert len(parts(spec)) == 14
    assert msgspec.json.decode(msgspec.json.encode(spec), type=SceneSpec) == spec


@pytest.mark.integration
def test_parts_lie_flat_apart_and_in_view():
    tops = set()
    for spec in scenes(CROWD, 8, seed=1):
        dice = parts(spec)
        for a, b in combinations(dice, 2):
            # Closer than their inscribed circles, two squares surely overlap.
            assert math.dist(place(a)[:2], place(b)[:2]) > (scale_of(a.pose) + scale_of(b.pose)) / 2
        for die in dice:
            corners = to_world(die.pose, body_of((DIE_MESH,)).hull)
            assert corners[:, 2].min() == pytest.approx(0, abs=1e-9)
            foot = np.array([[*place(die)[:2], 0.0]])
            x, y = project(spec.views[0].camera, spec.width, spec.height, foot)[0]
            assert 0 <= x <= spec.width
            assert 0 <= y <= spec.height
            tops.add(die.category)
    assert tops == {"one", "two", "three", "four", "five", "six"}


def test_parts_stay_in_the_tray():
    stage = {"kind": "tray", "tray_m": 0.12, "tray_aspect": 0.75, "tray_yaw_deg": 30}
    (spec,) = scenes({**CROWD, "stage": stage})
    c, s = math.cos(math.radians(30)), math.sin(math.radians(30))
    assert parts(spec)
    for die in parts(spec):
        x, y, _ = place(die)
        half = scale_of(die.pose) / 2 * 0.99
        assert abs(c * x + s * y) <= 0.06 - half
        assert abs(-s * x + c * y) <= 0.045 - half
    walls = [thing for thing in spec.objects if thing.name.startswith("wall")]
    assert len(walls) == 4


@pytest.mark.integration
def test_impossible_placement_ends_and_says_what_found_no_place():
    (spec,) = scenes(
        {"name": "full", "parts": [{"name": "die", "shape": "die", "count": 60, "size_m": 0.05}]}
    )
    assert 1 <= len(parts(spec)) < 60
    assert len(spec.unplaced) == 60 - len(parts(spec))
    assert spec.unplaced[0] == ("die", "no free place in 80 tries")


def test_floating_parts_touch_nothing():
    table = {
        **CROWD,
        "layout": {"mode": "floating", "depth_m": 0.1},
        "parts": [{"name": "bolt", "shape": "bolt", "count": 10, "size_m": 0.02, "pose": "any"}],
        "stage": {"kind": "none"},
    }
    (spec,) = scenes(table)
    bolts = parts(spec)
    assert len(bolts) >= 5
    reach = body_of((bolts[0].mesh,)).radius * 0.02
    heights = [place(bolt)[2] for bolt in bolts]
    assert max(heights) - min(heights) > 0.02
    for a, b in combinations(bolts, 2):
        assert np.linalg.norm(place(a) - place(b)) >= 2 * reach
    assert not [thing for thing in spec.objects if thing.role == "stage"]


def test_every_camera_takes_its_views_and_their_numbers_run_on():
    cameras = [
        {"name": "left", "azimuth_deg": 180, "tilt_deg": 40},
        {"name": "right", "azimuth_deg": 0, "tilt_deg": 40},
    ]
    table = {**CROWD, "cameras": cameras, "layout": {"views": 2}}
    first, second = scenes(table, 2)
    assert [view.index for view in (*first.views, *second.views)] == list(range(8))
    assert [view.camera.name for view in first.views] == ["left", "left", "right", "right"]
    assert (
        np.reshape(first.views[0].camera.pose, (3, 4))[0, 3]
        < 0
        < np.reshape(first.views[2].camera.pose, (3, 4))[0, 3]
    )


def test_the_working_distance_gives_the_asked_view():
    (spec,) = scenes({**CROWD, "cameras": [{"view_m": 0.3, "focal_mm": 50}]})
    edge = np.array([[0.15, 0.0, 0.0], [-0.15, 0.0, 0.0]])
    xs = project(spec.views[0].camera, spec.width, spec.height, edge)[:, 0]
    assert xs == pytest.approx([320, 0])


def test_intrinsics_of_a_real_camera_are_scaled_to_the_picture():
    table = {"fx": 1000, "fy": 1010, "cx": 500, "cy": 330, "width": 1000, "height": 640, "k1": -0.2}
    (spec,) = scenes(
        {**CROWD, "image": {"width": 500, "height": 320}, "cameras": [{"intrinsics": table, "distance_m": 1}]}
    )
    camera = spec.views[0].camera
    assert camera.focal_px == pytest.approx(500)
    # The middle of OpenCV's picture is (499.5, 319.5).
    assert camera.lens.shift_px == pytest.approx((0.25, 5.25))
    assert camera.lens.aspect == pytest.approx(1.01)
    assert camera.lens.k == (-0.2, 0, 0, 0, 0)


@pytest.mark.integration
def test_components_share_an_instance_and_carry_their_own_labels():
    car = {"name": "car", "shape": "car", "label": "component", "forms": [{"values": {"cells": 60}}]}
    (spec,) = scenes({"name": "car", "parts": [car], "layout": {"mode": "fixed"}})
    found = parts(spec)
    assert len(found) > 5
    assert {thing.instance for thing in found} == {1}
    assert len({thing.pose for thing in found}) == 1
    assert [thing.index for thing in found] == list(range(1, len(found) + 1))
    assert all(thing.category == thing.mesh.component for thing in found)


@pytest.mark.integration
def test_the_variants_of_a_form_are_the_same_throughout_the_dataset():
    form = {"values": {"roundness": {"uniform": [0.05, 0.2]}}, "variants": 3}
    table = {**CROWD, "parts": [{"name": "die", "shape": "die", "count": 6, "forms": [form], "size_m": 0.01}]}
    seen = {die.mesh.form["roundness"] for spec in scenes(table, 6) for die in parts(spec)}
    assert len(seen) == 3


def square(half, yaw=0.0):
    corners = np.array([[1, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]]) * half
    return corners @ about(np.array([0.0, 0.0, 1.0]), yaw).T


@pytest.mark.integration
@pytest.mark.parametrize(
    ("yaw", "tray", "fits"),
    [(0, 2.1, True), (0, 1.9, False), (math.pi / 4, 2.1, False), (math.pi / 4, 2.9, True)],
)
def test_a_tray_holds_footprints_by_their_outlines_not_their_circles(yaw, tray, fits):
    """A square of side 2 on its corner is sqrt(8) wide."""
    (spec,) = scenes({**CROWD, "cameras": [{"view_m": 1e-3, "tilt_deg": 0}]})
    camera, floor = spec.views[0].camera, tray_floor((tray, tray), 0.0)
    area = GroundArea(camera, spec.width, spec.height, window(spec.width, spec.height, 0.01, RNG), floor, 5)
    assert (area.place(square(1, yaw), 0.0, RNG) is not None) == fits


@pytest.mark.parametrize(("side", "gap", "fits"), [(0.5, 0.0, True), (0.5, 1.0, False), (1.5, 0.0, False)])
def test_footprints_keep_their_distance(side, gap, fits):
    (spec,) = scenes({**CROWD, "cameras": [{"view_m": 3.0, "tilt_deg": 0}]})
    camera = spec.views[0].camera
    area = GroundArea(camera, spec.width, spec.height, window(spec.width, spec.height, 1.0, RNG), None, 400)
    area.taken.append(footprint(square(1.0)))
    shift = area.place(square(side / 2), gap, RNG)
    assert (shift is not None) == fits
    if shift is not None:
        assert np.abs(shift[:2]).max() >= 1.0 + side / 2
