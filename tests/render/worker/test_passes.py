"""The real Blender on small scenes made by hand: what it sees, against arithmetic."""

import math

import cv2
import msgspec
import numpy as np
import pytest
from support.small_scenes import FAR, SURFACES, at, build, flaw, scene, surface_of, thing

from render.annotation.annotate import label
from render.core.spec import CameraSpec, LensSpec, QualitySpec, SensorSpec, ViewSpec
from render.geometry.silhouette import silhouette

pytestmark = pytest.mark.render

bpy = pytest.importorskip("bpy")

from render.worker.passes import render_view  # noqa: E402  # needs bpy


def look(spec, materials=dict):
    """The first view's shot and annotations."""
    shot = render_view(build(spec, materials), spec, spec.views[0])
    return shot, label(shot, spec, spec.views[0], surface_of)


def corners(box):
    x, y, w, h = box
    return np.array([x, y, x + w, y + h])


# ---- boxes -----------------------------------------------------------------------------------------------


def test_a_cube_is_where_arithmetic_puts_it():
    # Its upper face is 9.5 m away and hides the rest: 100 px / 9.5 per metre.
    side = 1000 / 9.5
    _, (found,) = look(
        scene(thing("cube", at(0.123, -0.217)), camera=CameraSpec("c", at(z=10.0), 1000.0), side=256)
    )
    left, upper = 128 + (0.123 - 0.5) * side, 128 + (0.217 - 0.5) * side
    assert corners(found.bbox) == pytest.approx([left, upper, left + side, upper + side], abs=0.51)
    assert found.area == pytest.approx(side**2, rel=0.01)
    assert found.amodal_bbox == pytest.approx((left, upper, side, side), abs=0.01)
    assert found.visible_fraction == pytest.approx(1, abs=0.01)


def test_a_ball_is_as_wide_as_the_cone_that_touches_it():
    camera = CameraSpec("c", at(z=2.0), 150.0)
    _, (found,) = look(scene(thing("ball", at()), camera=camera))
    radius = 150 * math.tan(math.asin(0.5 / 2))  # 38.7 px; a mere 0.5 m at 2 m would be 37.5 px
    assert corners(found.bbox) == pytest.approx([64 - radius, 64 - radius, 64 + radius, 64 + radius], abs=0.6)
    assert found.area == pytest.approx(math.pi * radius**2, rel=0.01)


def test_principal_point_and_aspect_move_and_stretch_the_picture():
    lens = LensSpec(shift_px=(13.0, -9.0), aspect=1.25)
    for aspect in (1.25, 0.8):
        lens = LensSpec(shift_px=(13.0, -9.0), aspect=aspect)
        _, (found,) = look(
            scene(thing("plate", at(0.7, 0.4)), camera=CameraSpec("c", at(z=10.0), 200.0, lens=lens))
        )
        middle, high = (64 + 13 + 14, 64 - 9 - 8 * aspect), 10 * aspect
        assert corners(found.bbox) == pytest.approx(
            [middle[0] - 10, middle[1] - high, middle[0] + 10, middle[1] + high], abs=0.6
        )


def test_a_roof_over_half_leaves_half():
    roof = thing("cube", at(2.5, 0.0, 3.0, size=5.0), index=0, role="distractor")
    _, (found,) = look(scene(thing("cube", at(size=4.0)), roof, camera=FAR))
    assert found.visible_fraction == pytest.approx(0.5, abs=0.02)
    assert found.truncation == 0
    assert corners(found.bbox) == pytest.approx([24, 24, 64, 104], abs=1)
    assert found.amodal_bbox == pytest.approx((24, 24, 80, 80), abs=0.2)  # 0.1 px of perspective


def test_the_picture_s_edge_cuts_boxes_and_is_told_as_truncation():
    _, (found,) = look(scene(thing("cube", at(3.2, size=4.0)), camera=FAR))
    assert corners(found.bbox) == pytest.approx([88, 24, 128, 104], abs=1)
    assert found.truncation == pytest.approx(0.5, abs=0.01)
    assert found.visible_fraction == pytest.approx(0.5, abs=0.02)
    assert found.amodal_bbox == pytest.approx((88, 24, 80, 80), abs=0.3)


def test_things_of_a_group_share_a_box():
    objects = (
        thing("cube", at(-2.0, size=1.0), 1, category="pair", group=1),
        thing("cube", at(2.0, size=1.0), 2, category="pair", group=1),
        thing("cube", at(0.0, 2.0, size=1.0), 3, category="single"),
    )
    _, found = look(scene(*objects, camera=FAR))
    assert [(a.category, a.object_index) for a in found] == [("pair", 1), ("single", 3)]
    assert corners(found[0].bbox) == pytest.approx([14, 54, 114, 74], abs=1)


# ---- what must not change a label ------------------------------------------------------------------------


def flaw_material(number, centre, radius, *, hole=False):
    """Grey, with a disc around `centre` written to the flaw's AOV, and cut out if it is a hole."""
    material = bpy.data.materials.new(f"flawed {number}")
    material.use_nodes = True
    tree = material.node_tree
    place = tree.nodes.new("ShaderNodeTexCoord")
    apart = tree.nodes.new("ShaderNodeVectorMath")
    apart.operation = "DISTANCE"
    apart.inputs[1].default_value = centre
    tree.links.new(place.outputs["Object"], apart.inputs[0])
    inside = tree.nodes.new("ShaderNodeMath")
    inside.operation, inside.inputs[1].default_value = "LESS_THAN", radius
    tree.links.new(apart.outputs["Value"], inside.inputs[0])
    out = tree.nodes.new("ShaderNodeOutputAOV")
    out.aov_name = f"flaw {number}"
    tree.links.new(inside.outputs[0], out.inputs["Value"])
    if hole:
        solid = tree.nodes.new("ShaderNodeMath")
        solid.operation, solid.inputs[0].default_value = "SUBTRACT", 1.0
        tree.links.new(inside.outputs[0], solid.inputs[1])
        tree.links.new(solid.outputs[0], tree.nodes["Principled BSDF"].inputs["Alpha"])
    return material


def test_focus_blur_changes_no_label():
    objects = (
        thing("cube", at(-1.5, 0.3, turn=0.4), 1, defects=(flaw(1, 0.1, 0.0, 0.5, 0.5),)),
        thing("ball", at(1.6, -1.1, 2.0), 2),
        thing("cube", at(size=30.0, z=-16), 0),
    )
    sharp = CameraSpec("c", at(z=10.0), 200.0)
    blurred = CameraSpec("c", at(z=10.0), 200.0, f_number=0.1, focus_m=3.0)
    (sharp_shot, sharp_labels), (blurred_shot, blurred_labels) = (
        look(
            scene(*objects, camera=camera, masks="rle", samples=4),
            lambda: {0: flaw_material(1, (0.1, 0.0, 0.5), 0.25)},
        )
        for camera in (sharp, blurred)
    )
    assert [a.category for a in sharp_labels] == ["cube", "ball", "flaw"]
    assert blurred_labels == sharp_labels
    # And blurred it is: an aperture of 0.56 m, focused at 3 m, spreads a point 9.5 m away over 26 px.
    soft = [cv2.GaussianBlur(s.light[..., 1], (0, 0), 2.0) for s in (sharp_shot, blurred_shot)]
    steepest = [np.abs(np.diff(picture, axis=1)).max() for picture in soft]
    assert steepest[1] < 0.5 * steepest[0]


# ---- flaws and holes -------------------------------------------------------------------------------------


def test_a_flaw_has_a_box_and_a_mask_of_its_own():
    # A disc of 0.25 m on a 2 m cube, 20 px per metre: 10 px wide, 10 px right of the middle.
    block = thing("cube", at(size=4.0), defects=(flaw(7, 0.125, 0.0, 0.5, 0.125),))
    shot, (cube_found, found) = look(
        scene(block, camera=FAR, samples=8), lambda: {0: flaw_material(7, (0.125, 0.0, 0.5), 0.0625)}
    )
    assert (found.category, found.flaw, found.object_index, found.instance) == ("flaw", 7, 1, 0)
    assert corners(found.bbox) == pytest.approx([69, 59, 79, 69], abs=1)
    assert found.area == pytest.approx(math.pi * 25, rel=0.1)
    assert found.visible_fraction == 1
    assert cube_found.area == pytest.approx(80 * 80, rel=0.01)  # the flaw is part of the cube
    assert set(shot.flaws) == {7}


def test_a_flaw_under_a_roof_is_hidden_where_the_roof_is():
    block = thing("cube", at(size=4.0), defects=(flaw(1, 0.0, 0.0, 0.5, 0.25),))
    roof = thing("cube", at(2.5, 0.0, 6.0, size=5.0), index=0, role="distractor")
    _, (_, found) = look(
        scene(block, roof, camera=FAR, samples=8), lambda: {0: flaw_material(1, (0.0, 0.0, 0.5), 0.125)}
    )
    assert corners(found.bbox) == pytest.approx([54, 54, 64, 74], abs=1)
    assert found.visible_fraction == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "camera", [FAR, CameraSpec("far", at(z=1000.0), 20000.0, f_number=64.0, focus_m=1000.0)]
)
def test_through_a_hole_is_seen_what_lies_behind(camera):
    # A sheet with a hole of 2 m over a smaller sheet, 1 m to the side.
    sheet = thing("plate", at(z=1.0, size=5.0), 1, defects=(flaw(1, 0.0, 0.0, 0.0, 0.4, hole=True),))
    behind = thing("plate", at(1.0, size=1.0, z=0.5), 2)
    shot, found = look(
        scene(sheet, behind, camera=camera, samples=8),
        lambda: {0: flaw_material(1, (0, 0, 0), 0.2, hole=True)},
    )
    sheet_found, behind_found, hole = found
    assert [a.category for a in found] == ["plate", "plate", "flaw"]
    # 20 px per metre: the hole is 40 px wide; half of the sheet behind shows through its right half.
    assert corners(hole.bbox) == pytest.approx([44, 44, 84, 84], abs=1)
    assert hole.area == pytest.approx(math.pi * 400, rel=0.03)
    assert hole.visible_fraction == pytest.approx(1, abs=0.01)
    assert corners(behind_found.bbox) == pytest.approx([74, 54, 84, 74], abs=1.1)
    assert sheet_found.area == pytest.approx(100 * 100 - math.pi * 400, rel=0.01)
    assert shot.index[64, 54] == 0  # nothing behind: not the sheet
    assert shot.alpha[64, 54] < 0.01
    assert shot.alpha[64, 24] > 0.99


# ---- lens ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "k", [(-0.30, 0.09, 0.0, 0.0, 0.0), (0.22, 0.05, 0.0, 0.0, 0.0), (-0.2, 0.05, 0.004, -0.003, 0.01)]
)
def test_a_lens_bends_picture_and_masks_alike(k):
    """Small cubes on a grid land where OpenCV projects them."""
    width, height, focal, (dx, dy), aspect = 256, 192, 200.0, (5.0, -3.0), 1.04
    camera = CameraSpec("c", at(z=3.0), focal, lens=LensSpec(k=k, shift_px=(dx, dy), aspect=aspect))
    grid = np.array([(x, y) for y in (-1.2, -0.6, 0.0, 0.6, 1.2) for x in (-1.6, -0.8, 0.0, 0.8, 1.6)])
    places = grid + np.random.default_rng(1).uniform(-0.1, 0.1, grid.shape)  # so that rounding evens out
    half = 0.08
    cubes = [thing("cube", at(x, y, size=2 * half), n) for n, (x, y) in enumerate(places, start=1)]
    spec = msgspec.structs.replace(scene(*cubes, camera=camera), width=width, height=height)
    shot, found = look(spec)
    assert shot.light.shape == (height, width, 3)
    # OpenCV counts from the middle of the first pixel.
    middle = (width / 2 + dx - 0.5, height / 2 + dy - 0.5)
    matrix = np.array([[focal, 0, middle[0]], [0, focal * aspect, middle[1]], [0, 0, 1]])
    signs = np.array([(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    apart, shares = [], []
    for mine in found:
        x, y = places[mine.object_index - 1]
        tips = np.array([x, -y, 3.0]) + half * signs
        seen = cv2.projectPoints(tips, np.zeros(3), np.zeros(3), matrix, np.array(k))[0][:, 0] + 0.5
        low, high = seen.min(axis=0), seen.max(axis=0)
        if (low < 1).any() or (high > (width - 1, height - 1)).any():
            continue
        assert corners(mine.bbox) == pytest.approx(np.concatenate([low, high]), abs=1.0)
        assert mine.amodal_bbox == pytest.approx((*low, *(high - low)), abs=0.05)
        outline = silhouette(camera, width, height, [(SURFACES["cube"], cubes[mine.object_index - 1].pose)])
        shares.append(mine.area / outline.area_px)
        # The picture has it where the mask has it: alpha is of the picture.
        mask = (shot.index == mine.object_index).astype(np.float64)
        lit = np.where(cv2.dilate(mask, np.ones((5, 5))) > 0, shot.alpha, 0)
        rows, columns = np.indices(lit.shape)
        apart.append([(lit * g).sum() / lit.sum() - (mask * g).sum() / mask.sum() for g in (columns, rows)])
    assert len(apart) >= 15
    assert np.abs(apart).max() < 0.4
    assert np.mean(apart, axis=0) == pytest.approx(0, abs=0.1)
    assert np.mean(shares) == pytest.approx(1, abs=0.05)


# ---- backgrounds and repetition --------------------------------------------------------------------------


def test_alpha_is_zero_only_where_another_background_is_wanted():
    block = thing("cube", at(size=4.0))
    shot, _ = look(scene(block, camera=FAR))
    assert shot.alpha[0, 0] == 0
    assert shot.alpha[64, 64] == 1
    shot, _ = look(scene(block, camera=FAR, background="sky"))
    assert shot.alpha.min() == 1
    assert shot.light[0, 0].min() > 0


def test_a_shadow_catcher_hides_no_label_and_has_none():
    block = thing("cube", at(z=2.0, size=4.0))
    ground = thing("plate", at(z=0.0, size=40.0), index=0, role="stage", shadow_catcher=True)
    shot, (found,) = look(scene(block, ground, camera=FAR))
    assert corners(found.bbox) == pytest.approx([24, 24, 104, 104], abs=1)
    assert shot.alpha[64, 64] > 0.99
    assert shot.alpha[5, 5] < 0.5  # the ground itself does not show


def test_the_same_spec_gives_the_same_bits_whatever_came_before():
    objects = (thing("cube", at(turn=0.3), 1), thing("ball", at(2.0, 1.0), 2))
    spec = scene(*objects, samples=3, background="sky")
    spec = msgspec.structs.replace(spec, quality=QualitySpec(3, "high", 2))
    first = render_view(build(spec), spec, spec.views[0])
    stage = build(spec)
    other = CameraSpec(
        "o", at(x=1.0, z=5.0), 90.0, f_number=1.0, focus_m=5.0, lens=LensSpec(k=(-0.1, 0, 0, 0, 0))
    )
    render_view(stage, spec, ViewSpec(1, other, SensorSpec(), 99))
    again = render_view(stage, spec, spec.views[0])
    assert (again.light == first.light).all()
    assert (again.index == first.index).all()
    third = render_view(stage, spec, msgspec.structs.replace(spec.views[0], cycles_seed=4))
    assert (third.light != first.light).any()


def test_a_view_gives_the_same_bits_after_other_views_of_its_scene():
    """What Cycles keeps from view to view changes nothing."""
    objects = (
        thing("cube", at(turn=0.3), 1, defects=(flaw(1, 0.1, 0.0, 0.5, 0.5),)),
        thing("ball", at(2.0, 1.0), 2),
    )
    cameras = (
        CameraSpec("a", at(z=10.0), 100.0),
        CameraSpec(
            "b", at(x=1.0, z=5.0), 90.0, f_number=1.0, focus_m=5.0, lens=LensSpec(k=(-0.1, 0, 0, 0, 0))
        ),
        CameraSpec("c", at(x=-1.0, z=8.0), 120.0),
    )
    views = tuple(ViewSpec(n, camera, SensorSpec(), n) for n, camera in enumerate(cameras))
    spec = msgspec.structs.replace(scene(*objects, samples=3), views=views)

    def materials():
        return {0: flaw_material(1, (0.1, 0.0, 0.5), 0.25)}

    stage = build(spec, materials)
    in_turn = [render_view(stage, spec, view) for view in views]
    alone = [render_view(build(spec, materials), spec, view) for view in views]
    for one, other in zip(in_turn, alone, strict=True):
        assert (one.light == other.light).all()
        assert (one.alpha == other.alpha).all()
        assert (one.index == other.index).all()
        assert (one.flaws[1] == other.flaws[1]).all()
        assert one.flaws[1].max() == 1
