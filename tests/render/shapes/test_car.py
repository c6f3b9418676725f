"""The car: whole, symmetric, and every part of it where it belongs."""

import numpy as np
import pytest
from support.watertight import extent, is_closed

from render.shapes import SHAPES, build_surface

pytestmark = pytest.mark.integration

#: Coarse, so that a test takes a moment.
CAR = {"cells": 60.0}


def car(name):
    return build_surface("car", CAR, name)


def test_every_component_of_a_car_is_closed_and_outward():
    for name in SHAPES["car"].components:
        assert is_closed(car(name)), name
        assert car(name).volume > 0, name


def test_a_car_is_one_long_and_symmetric():
    low, high = extent(*(car(name) for name in SHAPES["car"].components))
    assert high[0] - low[0] == pytest.approx(1)
    assert low == pytest.approx(-high, abs=1e-9)
    assert high[2] - low[2] == pytest.approx(0.315, rel=0.04)
    for name in SHAPES["car"].components:
        if "left" not in name:
            continue
        left, right = extent(car(name)), extent(car(name.replace("left", "right")))
        assert left[:, 0] == pytest.approx(right[:, 0], abs=0.01), name
        assert left[:, 1] == pytest.approx(-right[::-1, 1], abs=0.01), name
        assert left[0, 1] > 0.05, name


def test_the_parts_of_a_car_are_where_they_belong():
    middle = {name: extent(car(name)).mean(axis=0) for name in SHAPES["car"].components}
    order = ["front_bumper", "hood", "windshield", "back_glass", "trunk"]
    x = [middle[name][0] for name in order]
    assert x == sorted(x, reverse=True)
    assert extent(car("back_bumper"))[0, 0] < -0.49
    assert middle["back_bumper"][2] < middle["back_plate"][2] < extent(car("trunk"))[1, 2]
    for side in ("left", "right"):
        for a, b in (("wheel", "light"), ("light", "window"), ("wheel", "door"), ("door", "window")):
            assert middle[f"front_{side}_{a}"][2] < middle[f"front_{side}_{b}"][2]
        assert middle[f"front_{side}_door"][0] > middle[f"back_{side}_door"][0]
    wheels = [car(f"{end}_{side}_wheel") for end in ("front", "back") for side in ("left", "right")]
    ground = extent(*(car(name) for name in SHAPES["car"].components))[0, 2]
    for wheel in wheels:
        assert extent(wheel)[0, 2] == pytest.approx(ground, abs=1e-6)
        assert 0 < wheel.accent.mean() < 1
    assert extent(car("body"))[0, 2] > ground + 0.02


def test_the_panels_of_a_car_leave_gaps_and_do_not_overlap():
    """Overlapping outlines are cut in turn: no point of a door is in the window's outline."""
    door, window = car("front_left_door"), car("front_left_window")
    apart = np.linalg.norm(door.vertices[:, None, ::2] - window.vertices[None, :, ::2], axis=2).min()
    assert 0.0005 < apart < 0.003


HATCHBACK = {"deck": 0.03, "slope": 0.08, "height": 0.36, "clearance": 0.05, "wheel": 0.08}
COUPE = {"height": 0.28, "width": 0.46, "hood": 0.34, "deck": 0.22, "slope": 0.24, "wheelbase": 0.54}


@pytest.mark.parametrize("form", [HATCHBACK, pytest.param(COUPE, marks=pytest.mark.slow)])
def test_other_cars_are_whole_too(form):
    for name in SHAPES["car"].components:
        made = build_surface("car", form | CAR, name)
        assert is_closed(made), name
        assert made.volume > 0, name
