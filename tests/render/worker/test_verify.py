"""What the rays find, in the real Blender, on scenes made by hand."""

import msgspec
import numpy as np
import pytest
from support.small_scenes import DOWN, at, build, flaw, scene, surface_of, thing

from render.annotation.annotate import label
from render.core.spec import CameraSpec, LensSpec, SensorSpec, ViewSpec

pytestmark = pytest.mark.render

pytest.importorskip("bpy")

from render.worker.passes import render_view  # noqa: E402  # needs bpy
from render.worker.verify import ViewVisibility, verify, without_hidden  # noqa: E402


def sights(spec):
    return verify(build(spec), spec, surface_of)


def sight(*objects, camera=DOWN, **labels):
    (only,) = sights(scene(*objects, camera=camera, **labels))
    return only


def below(index=0):
    """A ground that hides nothing above it; unlabelled."""
    return thing("plate", at(z=-3.0, size=60.0), index, role="stage")


def test_what_is_in_the_picture_is_seen_and_what_is_beside_or_behind_is_not():
    # 12.8 m of the ground are in the picture.
    shown = sight(
        thing("cube", at(1.0), 1), thing("ball", at(9.0), 2), thing("cube", at(z=12.0), 3), below(),
            thing("ball", at(-6.6), 5)
    )  # fmt: skip
    assert shown.objects == {1, 5}  # the last one by its rim
    assert shown.reason == ""


def test_what_hides_behind_another_is_not_seen():
    roof = thing("cube", at(z=4.0, size=2.0), 3)
    assert sight(thing("cube", at(z=0.0), 1), roof).objects == {3}
    # The roof's upper rim, 1 m out and 5 m away, hides 1.9 m at 9.5 m; the cube reaches to 2.1 m.
    assert sight(thing("cube", at(1.6), 1), roof).objects == {1, 3}


def test_small_things_between_the_grid_s_rays_are_found():
    # 48 rays on 128 px; a ball of 1.5 px can slip through, its surface is then asked by itself.
    places = [(x * 1.03, y * 0.97) for x in range(-4, 5) for y in range(-4, 5)]
    balls = [thing("ball", at(x, y, size=0.15), n) for n, (x, y) in enumerate(places, start=1)]
    assert sight(*balls, below()).objects == set(range(1, 82))


def test_views_that_show_too_few_labels_are_told_why():
    objects = thing("cube", at(1.0), 1), thing("cube", at(20.0), 2), thing("cube", at(-1.0), 3, category=None)
    assert sight(*objects, min_parts=1).reason == ""
    assert sight(*objects, min_parts=2).reason == "1 labels can be seen, expected at least 2"


def test_a_camera_inside_a_thing_is_told_so():
    # The camera is 10 m up; the ball of 30 m around the origin holds it, the one beside it does not.
    held = sight(thing("ball", at(size=30.0), 1))
    assert held.inside
    assert held.reason.startswith(f"the camera is inside {held.inside}; move it")
    assert sight(thing("ball", at(size=8.0), 1), below()).inside == ""


def test_a_group_counts_once():
    pair = thing("cube", at(1.0), 1, group=4), thing("cube", at(-1.0), 2, group=4)
    assert sight(*pair, min_parts=2).reason.startswith("1 labels")


# ---- flaws -----------------------------------------------------------------------------------------------

UP = (0.5, 0.2)


def test_flaws_on_the_far_side_under_a_roof_and_out_of_the_picture_are_not_seen():
    upper, lower = flaw(1, 0.0, 0.0, 0.5, 0.4), flaw(2, 0.0, 0.0, -0.5, 0.4)
    lower = msgspec.structs.replace(lower, frame=(1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, -0.5))
    block = thing("cube", at(size=2.0), 1, defects=(upper, lower))
    assert sight(block).flaws == {1}
    roof = thing("cube", at(z=4.0, size=2.0), 0)
    assert sight(block, roof).flaws == set()
    assert sight(thing("cube", at(7.0, size=2.0), 1, defects=(upper,))).flaws == set()  # only its rim is in


def test_a_thin_sheet_hides_a_flaw_on_its_other_side():
    under = msgspec.structs.replace(flaw(1, 0, 0, 0, 0.3), frame=(1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 0))
    sheet = thing("plate", at(size=4.0), 1, defects=(under,))
    assert sight(sheet).flaws == set()
    hole = msgspec.structs.replace(under, hole=True)
    assert sight(thing("plate", at(size=4.0), 1, defects=(hole,))).flaws == {1}


def test_flaws_of_any_size_on_a_ball_are_found():
    # On the slope; a large one's rectangle stands far off the surface.
    c = np.sqrt(0.5)
    for size in (0.02, 0.2, 0.8):
        slope = msgspec.structs.replace(
            flaw(1, 0, 0, 0, size), frame=(c, 0, c, 0.5 * c, 0, 1, 0, 0, -c, 0, c, 0.5 * c)
        )
        assert sight(thing("ball", at(size=4.0), 1, defects=(slope,))).flaws == {1}


def test_flaws_no_view_shows_are_taken_out():
    hidden, shown = flaw(1, 0, 0, -0.5, 0.4), flaw(2, 0, 0, 0.5, 0.4)
    hidden = msgspec.structs.replace(hidden, frame=(1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, -0.5))
    spec = scene(
        thing("cube", at(size=2.0), 1, defects=(hidden, shown)), thing("cube", at(3.0), 2), camera=DOWN
    )
    pruned = without_hidden(spec, sights(spec))
    assert [[f.number for f in thing.defects] for thing in pruned.objects] == [[2], []]
    assert pruned.objects[0].defects[0] == shown
    # A second view from below keeps the other.
    flat = (1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, -10.0)
    both = msgspec.structs.replace(
        spec, views=(*spec.views, ViewSpec(1, CameraSpec("up", flat, 100.0), SensorSpec(), 0))
    )
    first, second = sights(both)
    assert (first.index, first.flaws, second.index, second.flaws) == (0, {2}, 1, {1})
    assert without_hidden(both, (first, second)) == both


def test_defects_only_and_none_to_be_seen_is_a_view_to_skip():
    under = msgspec.structs.replace(flaw(1, 0, 0, 0, 0.3), frame=(1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 0))
    over = flaw(2, 0, 0, 0, 0.3)
    reason = "none of its 1 flaws can be seen"
    assert sight(thing("plate", at(size=4.0), 1, defects=(under,), category=None)).reason == reason
    assert sight(thing("plate", at(size=4.0), 1, defects=(under,))).reason == ""  # the sheet is labelled
    assert sight(thing("plate", at(size=4.0), 1, defects=(over,), category=None)).reason == ""
    # A clean scene is what was asked for.
    assert sight(thing("plate", at(size=4.0), 1, category=None)).reason == ""
    unlabelled = msgspec.structs.replace(under, category="")
    assert sight(thing("plate", at(size=4.0), 1, defects=(unlabelled,), category=None)).reason == ""


# ---- against the render ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lens", [LensSpec(), LensSpec(k=(-0.25, 0.05, 0, 0, 0), shift_px=(9.0, -4.0), aspect=1.1)]
)
def test_everything_that_gets_a_label_was_seen_before(lens):
    rng = np.random.default_rng(5)
    kinds = ("cube", "ball")
    objects = [
        thing(
            kinds[n % 2],
            at(*rng.uniform(-8, 8, 2), rng.uniform(-2, 4), size=rng.uniform(0.2, 2.0)),
            n,
            category="x",
        )
        for n in range(1, 60)
    ]
    spec = scene(*objects, below(), camera=CameraSpec("c", at(z=10.0), 100.0, lens=lens))
    stage = build(spec)
    (shown,) = verify(stage, spec, surface_of)
    shot = render_view(stage, spec, spec.views[0])
    rendered = {a.object_index for a in label(shot, spec, spec.views[0], surface_of)}
    # A label needs a few pixels; the rays may know of things that show less.
    counts = np.bincount(shot.index.ravel(), minlength=61)
    assert len(rendered) > 20
    assert {index for index in rendered if counts[index] >= 5} <= shown.objects
    assert len(shown.objects - rendered) <= 3
    assert shown == ViewVisibility(0, shown.objects, frozenset())
