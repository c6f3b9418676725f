"""The die: what its faces show, and how it lies. Unit: its edge."""

import math

import numpy as np
import pytest

from render.shapes import SHAPES, build_surface
from render.shapes.die import FACES, NAMES, PIPS, frame


def upper_face(turn):
    """Value of the face whose normal points most upwards under a rotation (3, 3)."""
    return max(FACES, key=lambda value: (turn @ FACES[value][0])[2])


@pytest.mark.integration
def test_pips_take_away_what_paraboloids_hold():
    """21 paraboloids, each half of the cylinder around it."""
    form = {"roundness": 0.05, "ball": 1.8, "cells": 120.0}
    full = build_surface("die", form | {"pip_radius": 0.0}, "")
    dented = build_surface("die", form | {"pip_radius": 0.1, "pip_depth": 0.05}, "")
    assert full.volume - dented.volume == pytest.approx(21 * math.pi * 0.1**2 * 0.05 / 2, rel=0.02)


@pytest.mark.parametrize("value", FACES)
def test_a_die_lies_as_its_state_says(value):
    rest = SHAPES["die"].rests[value - 1]
    assert rest.state == NAMES[value - 1]
    turn = np.reshape(rest.rotation, (3, 3))
    assert upper_face(turn) == value
    assert turn == pytest.approx(frame(value))
    made = build_surface("die", {}, "")
    world = made.vertices @ turn.T
    # Seen from above, the pip colour covers as many circles as the face has pips.
    top = world[:, 2] > 0.42
    cell = 1 / 56
    assert made.accent[top].sum() * cell**2 == pytest.approx(len(PIPS[value]) * math.pi * 0.095**2, rel=0.03)


def test_opposite_faces_of_a_die_sum_to_seven():
    for value in FACES:
        assert upper_face(np.diag([1.0, -1.0, -1.0]) @ frame(value)) == 7 - value
