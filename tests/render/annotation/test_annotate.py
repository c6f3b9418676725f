import math

import msgspec
import numpy as np
import pytest

from render.annotation.annotate import RenderedView, flaw_spots, label
from render.annotation.masks import bounds, decode, fill
from render.core.spec import (
    CameraSpec,
    DefectSpec,
    LabelSpec,
    LightSpec,
    MaterialSpec,
    MeshSpec,
    ObjectSpec,
    QualitySpec,
    SceneSpec,
    SensorSpec,
    ViewSpec,
)
from render.shapes.kernels.surface import polygons

SIDE = 100
#: Straight down from 1 km; 1 px per metre, perspective all but gone, the origin in the middle.
CAMERA = CameraSpec("far", (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1000.0), 1000.0)
SHEET = polygons(
    np.array([(-0.5, -0.5, 0), (0.5, -0.5, 0), (0.5, 0.5, 0), (-0.5, 0.5, 0.0)]), np.array([(0, 1, 2, 3)])
)


def sheet(index, x=0.0, y=0.0, size=20.0, **more):
    more.setdefault("category", "sheet")
    pose = (size, 0, 0, x, 0, size, 0, y, 0, 0, size, 0.0)
    return ObjectSpec(
        "sheet", MeshSpec(component=f"piece {index}"), pose, MaterialSpec("paint"), index=index, **more
    )


def flaw(number, x=0.0, y=0.0, size=(0.5, 0.5), turn=0.0, **more):
    c, s = math.cos(turn), math.sin(turn)
    return DefectSpec(
        number, more.pop("category", "scratch"), "blot", (c, -s, 0, x, s, c, 0, y, 0, 0, 1, 0.0), size, **more
    )


def found(mask, *objects, flaws=None, **labels):
    labels = {"min_visible_px": 1, "min_visible_fraction": 0.0, "min_side_px": 1} | labels
    spec = SceneSpec(
        seed=0, index=0, width=SIDE, height=SIDE, format="png", quality=QualitySpec(1, "off", 1),
        labels=LabelSpec(**labels), objects=objects, views=(ViewSpec(0, CAMERA, SensorSpec(), 0),),
        light=LightSpec("studio", 1.0, (0.0, 0.0, 0.0)),
    )  # fmt: skip
    light, alpha = np.zeros((SIDE, SIDE, 3), np.float32), np.ones((SIDE, SIDE), np.float32)
    shot = RenderedView(light, alpha, np.asarray(mask, np.int32), flaws or {})
    return label(shot, spec, spec.views[0], lambda mesh: SHEET)


def empty():
    return np.zeros((SIDE, SIDE), np.int32)


def seen(rows, columns, value=1):
    mask = empty()
    mask[slice(*rows), slice(*columns)] = value
    return mask


def test_a_box_holds_exactly_the_visible_pixels():
    mask = seen((10, 30), (40, 60))
    mask[10:20, 40:50] = 2  # in front of the first one's corner
    first, second = found(mask, sheet(1, 0.0, 30.0), sheet(2, -5.0, 35.0, 10.0, instance=4))
    assert (first.bbox, first.area, first.object_index, first.instance) == ((40, 10, 20, 20), 300, 1, 0)
    assert (second.bbox, second.area, second.object_index, second.instance) == ((40, 10, 10, 10), 100, 2, 4)
    assert (first.category, first.component, first.flaw) == ("sheet", "piece 1", 0)


def test_a_piece_seen_apart_still_widens_the_box():
    mask = empty()
    mask[5, 7] = mask[20, 30] = 1
    (one,) = found(mask, sheet(1))
    assert (one.bbox, one.area) == ((7, 5, 24, 16), 2)


def test_the_visible_fraction_is_of_the_whole_silhouette_out_of_the_picture_too():
    # 20 px wide; its middle is 5 px inside the right edge of the picture: a quarter is outside.
    (one,) = found(seen((40, 60), (85, 95)), sheet(1, 45.0))
    assert one.visible_fraction == pytest.approx(0.5, abs=0.001)
    assert one.truncation == pytest.approx(0.25, abs=0.001)
    assert one.amodal_bbox == pytest.approx((85, 40, 20, 20), abs=0.01)


def test_unlabelled_things_make_no_annotation():
    mask = seen((40, 60), (40, 60), 3)
    assert found(mask, sheet(3, category=None)) == ()
    assert found(mask, sheet(3, category="")) == ()
    assert found(mask) == ()


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({"min_visible_px": 40}, True),
        ({"min_visible_px": 41}, False),
        ({"min_visible_fraction": 0.1}, True),
        ({"min_visible_fraction": 0.11}, False),
        ({"min_side_px": 2}, True),
        ({"min_side_px": 3}, False),
    ],
)
def test_filters(limits, kept):
    # 2 x 20 pixels of 20 x 20.
    assert len(found(seen((40, 42), (40, 60)), sheet(1), **limits)) == kept


def test_a_group_is_one_thing_and_its_silhouette_the_union():
    mask = seen((40, 60), (40, 60))
    mask[40:60, 60:70] = 2
    things = sheet(1, group=5, state={"state": "up"}), sheet(2, 10.0, group=5)
    (one,) = found(mask, *things)
    assert (one.bbox, one.area, one.object_index, one.component) == ((40, 40, 30, 20), 600, 1, "")
    assert one.visible_fraction == pytest.approx(1, abs=0.005)
    assert one.state == {"state": "up"}
    # Half of it hidden: only the second piece's own part is seen.
    (one,) = found(seen((40, 60), (60, 70), 2), *things)
    assert one.visible_fraction == pytest.approx(1 / 3, abs=0.003)


@pytest.mark.parametrize("kind", ["rle", "polygon"])
def test_a_mask_s_box_is_the_box(kind):
    mask = seen((40, 60), (40, 60))
    mask[50:, 45:] = 0
    (one,) = found(mask, sheet(1), masks=kind)
    back = decode(one.rle, SIDE, SIDE)
    assert (back == (mask == 1)).all()
    assert bounds(back) == one.bbox
    assert bool(one.polygons) == (kind == "polygon")
    if one.polygons:
        assert bounds(fill(one.polygons, SIDE, SIDE)) == one.bbox
    assert found(mask, sheet(1))[0].rle == ""


# ---- flaws -----------------------------------------------------------------------------------------------


def marks(rows, columns, value=1.0):
    layer = np.zeros((SIDE, SIDE), np.float32)
    layer[slice(*rows), slice(*columns)] = value
    return layer


def test_a_flaw_is_where_more_than_half_of_the_pixel_shows_it_on_its_object():
    layer = marks((44, 52), (44, 56)) + marks((60, 62), (40, 60), 0.5) + marks((10, 20), (10, 20))
    thing = sheet(1, defects=(flaw(4, size=(0.6, 0.4)),), category=None, instance=2)
    (one,) = found(seen((40, 60), (40, 60)), thing, flaws={4: layer}, masks="rle")
    assert (one.category, one.flaw, one.object_index, one.instance) == ("scratch", 4, 1, 2)
    assert (one.bbox, one.area) == ((44, 44, 12, 8), 96)
    assert bounds(decode(one.rle, SIDE, SIDE)) == one.bbox
    assert (one.visible_fraction, one.truncation) == (1.0, 0.0)


def test_what_covers_a_flaw_s_place_lowers_its_visible_fraction():
    mask = seen((40, 60), (40, 60))
    mask[:, 50:] = 0
    thing = sheet(1, defects=(flaw(1),), category=None)
    flaws = {1: marks((45, 55), (45, 55))}
    (one,) = found(mask, thing, flaws=flaws)
    assert one.bbox == (45, 45, 5, 10)
    assert one.visible_fraction == 0.5
    assert found(mask, thing, flaws=flaws, min_visible_fraction=0.51) == ()


def test_a_flaw_s_rectangle_counts_only_where_the_object_reaches():
    # Half of the rectangle hangs over the edge of the sheet: there is nothing there to be hidden.
    thing = sheet(1, defects=(flaw(1, 0.5),), category=None)
    (one,) = found(seen((40, 60), (40, 60)), thing, flaws={1: marks((45, 55), (55, 60))})
    assert one.visible_fraction == 1.0


def test_a_flaw_cut_by_the_picture_s_edge_is_truncated():
    thing = sheet(1, 40.0, defects=(flaw(1, 0.5),), category=None)
    thing = sheet(1, 40.0, size=40.0, defects=(flaw(1, 0.25),), category=None)  # its middle is on the edge
    (one,) = found(seen((30, 70), (70, 100)), thing, flaws={1: marks((40, 60), (90, 100))})
    assert one.truncation == pytest.approx(0.5)
    assert one.visible_fraction == pytest.approx(0.5)
    assert one.amodal_bbox == pytest.approx((90, 40, 20, 20), abs=1.3)  # the spots are 1.25 px apart


def test_a_hole_is_labelled_though_another_thing_is_seen_through_it():
    mask = seen((40, 60), (40, 60))
    mask[45:55, 45:55] = 2
    layer = {1: marks((45, 55), (45, 55))}
    hole = sheet(1, defects=(flaw(1, hole=True),))
    things = found(mask, hole, sheet(2), flaws=layer)
    assert [(a.category, a.bbox, a.area) for a in things] == [
        ("sheet", (40, 40, 20, 20), 300), ("sheet", (45, 45, 10, 10), 100), ("scratch", (45, 45, 10, 10),
            100),
    ]  # fmt: skip
    assert things[2].visible_fraction == 1.0
    assert len(found(mask, sheet(1, defects=(flaw(1),)), sheet(2), flaws=layer)) == 2


def test_a_flaw_without_category_is_drawn_but_not_labelled():
    thing = sheet(1, defects=(flaw(1, category=""),), category=None)
    assert found(seen((40, 60), (40, 60)), thing, flaws={1: marks((45, 55), (45, 55))}) == ()


def test_flaw_spots_lie_in_its_frame_and_the_object_s():
    thing = sheet(1, 3.0, -2.0, size=10.0, defects=())
    spots = flaw_spots(thing, flaw(1, 0.2, 0.1, size=(0.4, 0.1), turn=math.pi / 2), 4)
    # 4 m long along y, 1 m across x, about (3, -2) + 10 (0.2, 0.1); the outermost of four are at 3/8 of it.
    assert spots.min(axis=0) == pytest.approx((5 - 0.375, -1 - 1.5, 0))
    assert spots.max(axis=0) == pytest.approx((5 + 0.375, -1 + 1.5, 0))


def test_annotations_survive_json():
    mask = seen((40, 60), (40, 60))
    (one,) = found(mask, sheet(1, state={"legibility": "partly"}), masks="polygon")
    assert msgspec.json.decode(msgspec.json.encode(one), type=type(one)) == one
