import math

import msgspec
import numpy as np
import pytest

from render import parse_recipe, plan
from render.die import rotation
from render.labels import boxes, hull_area, outline_area
from render.spec import CameraSpec, DieSpec

EDGE_M = 0.02
#: Straight down from 10 m with a lens that makes 1 mm on the table 1 px: perspective all but gone.
CAMERA = CameraSpec((0.0, 0.0, 0.0), 10.0, 0.0, -math.pi / 2, 0.0, 36.0 * 100)


def die(top):
    grey = (0.5, 0.5, 0.5)
    turn = tuple(rotation(top, 0.0).ravel().tolist())
    return DieSpec((0.01, 1.8, 0.1, 0.04), EDGE_M, (0.0, 0.0, 0.01), turn, grey, grey, grey, 0, 0, 0, 0.5)


def scene(*dice, **changes):
    spec = plan(parse_recipe({"name": "x", "image": {"width": 100, "height": 100}}), 0, 0)
    return msgspec.structs.replace(spec, dice=dice, camera=CAMERA, **changes)


def test_a_box_holds_exactly_the_visible_pixels():
    mask = np.zeros((100, 100), int)
    mask[10:30, 40:60] = 1
    mask[10:20, 40:50] = 2  # in front of the first die's corner
    first, second = boxes(mask, scene(die(5), die(3), min_visible_px=1, min_visible_fraction=0))
    assert (first.bbox, first.area, first.category_id, first.object_index) == ((40, 10, 20, 20), 300, 5, 1)
    assert (second.bbox, second.area, second.category_id, second.object_index) == (
        (40, 10, 10, 10),
        100,
        3,
        2,
    )


def test_a_piece_seen_apart_still_widens_the_box():
    mask = np.zeros((100, 100), int)
    mask[5, 7] = mask[20, 30] = 1
    (box,) = boxes(mask, scene(die(1), min_visible_px=2, min_visible_fraction=0))
    assert (box.bbox, box.area) == ((7, 5, 24, 16), 2)


def test_the_visible_fraction_is_of_the_whole_outline():
    # 1 px is 1 mm and the die 20 mm: 400 px, a little more as its top is nearer, a little less at its edges.
    spec = scene(die(2), min_visible_fraction=0.45)
    assert outline_area(spec.dice[0], spec) == pytest.approx(400, rel=0.01)
    mask = np.zeros((100, 100), int)
    mask[40:50, 40:60] = 1
    assert boxes(mask, spec)[0].visible_fraction == pytest.approx(0.5, abs=0.01)
    mask[40:44] = 0
    assert boxes(mask, spec) == ()


def test_too_few_pixels_make_no_box():
    mask = np.zeros((100, 100), int)
    mask[0, :23] = 1
    assert boxes(mask, scene(die(1), min_visible_px=24, min_visible_fraction=0)) == ()
    mask[0, 23] = 1
    assert len(boxes(mask, scene(die(1), min_visible_px=24, min_visible_fraction=0))) == 1


def test_hull_area_by_hand():
    square = [(0, 0), (4, 0), (4, 4), (0, 4)]
    assert hull_area(np.array([*square, (2, 2), (4, 2), (0, 0)], float)) == 16
    assert hull_area(np.array([(0, 0), (3, 0), (0, 4)], float)) == 6
