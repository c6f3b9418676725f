import msgspec
import numpy as np
import pytest
from support.placed_defects import placed, recipe, rows
from support.small_scenes import at, thing

from render.core.errors import RecipeError
from render.core.spec import CameraSpec, MaterialSpec
from render.planner.defect_schedule import schedule_defects
from render.recipe.categories import categories
from render.recipe.checks import check_defect
from render.recipe.distributions import Distribution
from render.recipe.outlines import OUTLINES, feature_width
from render.recipe.presets import PRESETS, numbers_of
from render.recipe.tables import Defect, Labels, Recipe

# ---- presets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PRESETS)
def test_a_preset_keeps_to_what_its_outline_takes(kind):
    preset = PRESETS[kind]
    check_defect(Defect(kind=kind, values=dict(preset.values)), "here")
    assert preset.outline in OUTLINES


def test_the_kinds_the_issue_asks_for_are_there():
    asked = (
        "dent scratch shock inclusion burn mark hole break crack bubble cavern foreign-inclusion irregularity"
    )
    assert set((asked + " patch pitting rolled-in-scale crazing custom").split()) <= set(PRESETS)


def test_what_a_flaw_does_is_any_combination():
    broken, dent, burn = PRESETS["break"], PRESETS["dent"], PRESETS["burn"]
    assert broken.hole
    assert broken.material is not None
    assert broken.depth != 0
    assert (dent.material, dent.hole) == (None, False)
    assert (burn.depth, burn.hole) == (0.0, False)


@pytest.mark.parametrize(
    ("defect", "words"),
    [
        (Defect(kind="dint"), ["here.kind = 'dint'", "dent", "scratch"]),
        (Defect(kind="dent", values={"strands": 2.0}), ["here.values.strands", "dent", "wander", "bowl"]),
        (Defect(kind="dent", values={"wander": 1.5}), ["here.values.wander reaches 1.5", "0 to 1"]),
        (Defect(kind="pitting", values={"cell": Distribution(uniform=(0.01, 0.9))}), ["reaches 0.9", "0.5"]),
    ],
)
def test_a_wrong_number_is_named(defect, words):
    with pytest.raises(RecipeError) as error:
        check_defect(defect, "here")
    assert all(word in str(error.value) for word in words)


def test_the_recipe_s_values_replace_the_preset_s():
    found = numbers_of(Defect(kind="dent", values={"wander": 0.9, "turn_deg": 90.0}))
    assert (found["wander"], found["turn_deg"]) == (0.9, 90.0)
    assert found["bowl"] == PRESETS["dent"].values["bowl"]


def test_feature_widths_by_hand():
    assert feature_width("blot", (4.0, 2.0), {}) == 2.0
    assert feature_width("streak", (4.0, 2.0), {"strands": 1.0}) == 2.0
    assert feature_width("streak", (4.0, 2.0), {"strands": 4.0}) == 0.25
    assert feature_width("crack", (4.0, 2.0), {"thickness": 0.01}) == pytest.approx(0.04)
    assert feature_width("pits", (4.0, 2.0), {"cell": 0.1, "pit": 0.25}) == pytest.approx(0.2)


# ---- dealing ---------------------------------------------------------------------------------------------


def test_every_prefix_of_scenes_has_each_kind_by_its_weight():
    weights = (1.0, 2.0, 5.0, 0.5)
    kinds = tuple(Defect(kind="dent", name=str(w), weight=w) for w in weights)
    made = recipe(*kinds, clean=0.3, per_scene=Distribution(uniform=(1.0, 3.0)))
    counts, clean = np.zeros(4), 0
    for scene_index in range(400):
        dealt = schedule_defects(made, 5, scene_index)
        clean += not dealt
        np.add.at(counts, list(dealt), 1)
        assert np.abs(counts - counts.sum() * np.array(weights) / 8.5).max() < 1
        assert abs(clean - 0.3 * (scene_index + 1)) <= 1
    assert counts.sum() == pytest.approx(2 * 280, rel=0.1)


def test_equal_weights_come_as_shuffled_packs():
    made = recipe(*(Defect(kind="dent", name=n) for n in "abcd"))
    packs = [tuple(schedule_defects(made, 0, 4 * pack + i)[0] for i in range(4)) for pack in range(12)]
    assert all(sorted(pack) == [0, 1, 2, 3] for pack in packs)
    assert len(set(packs)) > 4


def test_a_scene_of_one_kind_when_they_are_not_to_mix():
    made = recipe(Defect(kind="dent"), Defect(kind="crack"), per_scene=3.0, mixed=False)
    dealt = [schedule_defects(made, 0, scene_index) for scene_index in range(20)]
    assert all(len(kinds) == 3 and len(set(kinds)) == 1 for kinds in dealt)
    assert sum(kinds[0] for kinds in dealt) == 10


def test_dealing_does_not_depend_on_who_asks_in_what_order():
    made = recipe(Defect(kind="dent"), Defect(kind="crack"), clean=0.2, per_scene=2.0)
    again = msgspec.json.decode(msgspec.json.encode(made), type=Recipe)
    backwards = [schedule_defects(made, 3, scene_index) for scene_index in reversed(range(30))][::-1]
    assert [schedule_defects(again, 3, scene_index) for scene_index in range(30)] == backwards
    assert [schedule_defects(made, 4, scene_index) for scene_index in range(30)] != backwards


def test_no_kinds_no_flaws():
    assert schedule_defects(recipe(), 0, 7) == ()


def test_look_alikes_are_dealt_apart_from_defects():
    """Grease is in clean scenes as often as in others, and does not change which defects a scene gets."""
    grease = Defect(kind="grease", label=False)
    kinds = (Defect(kind="dent"), grease, Defect(kind="crack"), Defect(kind="mark", label=False, weight=3.0))
    made = recipe(*kinds, clean=0.5, harmless=2.0)
    scenes = [schedule_defects(made, 5, number) for number in range(40)]
    without = recipe(kinds[0], kinds[2], clean=0.5)
    same = [tuple(2 * kind for kind in schedule_defects(without, 5, number)) for number in range(40)]
    assert [tuple(kind for kind in scene if kinds[kind].label) for scene in scenes] == same
    harmless = [kind for scene in scenes for kind in scene if not kinds[kind].label]
    assert all(sum(kind in (1, 3) for kind in scene) == 2 for scene in scenes)
    assert (harmless.count(1), harmless.count(3)) == (20, 60)


def test_a_look_alike_has_no_category():
    kinds = (Defect(kind="grease", label=False, size_m=0.2), Defect(kind="dent", size_m=0.2))
    (cube,) = placed(recipe(*kinds), thing("cube", at()))
    assert [flaw.category for flaw in cube.defects] == ["", "dent"]
    assert categories(msgspec.structs.replace(recipe(*kinds), labels=Labels(parts=False))) == ("dent",)


# ---- placing ---------------------------------------------------------------------------------------------


def test_flaws_lie_where_the_camera_sees_them():
    (cube,) = placed(recipe(*[Defect(kind="dent", size_m=0.1)] * 40), thing("cube", at()))
    assert [flaw.number for flaw in cube.defects] == list(range(1, 41))
    for flaw in cube.defects:
        frame = rows(flaw.frame)
        assert frame[:, 2] == pytest.approx([0, 0, 1])  # only the upper face is seen from straight above
        assert frame[2, 3] == pytest.approx(0.5)
        assert np.linalg.det(frame[:, :3]) == pytest.approx(1)


def test_flaws_lie_inside_the_picture():
    # A plate of 100 m of which the camera sees 12.8 m.
    (wide,) = placed(recipe(*[Defect(kind="mark", size_m=1.0)] * 12), thing("plate", at(size=100.0)))
    assert len(wide.defects) == 12
    for flaw in wide.defects:
        assert np.abs(rows(flaw.frame)[:2, 3]).max() * 100 < 6.4


def test_lengths_are_in_the_object_s_own_units():
    kind = Defect(kind="dent", size_m=0.4, aspect=0.5, depth_m=0.02, rim_m=0.01, values={"turn_deg": 0.0})
    (cube,) = placed(recipe(kind), thing("cube", at(1.0, 2.0, 0.0, size=4.0, turn=0.6)))
    (flaw,) = cube.defects
    assert flaw.size_m == pytest.approx((0.1, 0.05))
    assert (flaw.depth_m, flaw.rim_m) == pytest.approx((0.005, 0.0025))
    assert rows(flaw.frame)[:, 0] == pytest.approx([1, 0, 0])  # along the cube's own x, not the world's
    # Its top is 8 m from the camera: a pixel covers 8 / 100 m of the world.
    assert flaw.numbers["pixel"] == pytest.approx(0.02)


def test_a_preset_s_size_is_a_share_of_the_second_longest_side():
    preset = PRESETS["dent"]
    low, high = preset.size.extremes()
    for size in (0.5, 5.0):
        (cube,) = placed(recipe(Defect(kind="dent")), thing("cube", at(size=size)))
        (flaw,) = cube.defects
        assert low <= flaw.size_m[0] <= high  # the cube's side is 1 of its own units
        assert preset.depth.extremes()[0] <= flaw.depth_m / flaw.size_m[1] <= preset.depth.extremes()[1]


def test_flaws_keep_apart_while_there_is_room():
    (cube,) = placed(recipe(*[Defect(kind="mark", size_m=0.2)] * 8), thing("cube", at()), seed=3)
    places = np.array([rows(flaw.frame)[:, 3] for flaw in cube.defects])
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2)[np.triu_indices(8, 1)]
    assert gaps.min() > 0.2


def test_without_room_the_count_is_kept():
    (cube,) = placed(recipe(*[Defect(kind="mark", size_m=0.9)] * 5), thing("cube", at()))
    assert len(cube.defects) == 5


def test_a_kind_lies_on_its_parts_only_and_never_on_a_digit():
    digit = thing("cube", at(x=3.0), index=4)
    digit = msgspec.structs.replace(digit, mesh=msgspec.structs.replace(digit.mesh, shape="glyph"))
    door = msgspec.structs.replace(thing("cube", at(x=-2.0)), name="car/door")
    lid = msgspec.structs.replace(thing("cube", at(), index=2), name="car/lid")
    box = msgspec.structs.replace(thing("cube", at(x=2.0), index=3), name="box")
    for on, allowed in ((("car",), {0, 1}), (("car/lid",), {1}), (("box",), {2}), ((), {0, 1, 2})):
        made = placed(recipe(*[Defect(kind="dent", size_m=0.05, on=on)] * 20), door, lid, box, digit)
        assert {i for i, o in enumerate(made) if o.defects} == allowed
        assert made[3] is digit


def test_what_no_camera_sees_gets_no_flaw():
    assert placed(recipe(Defect(kind="dent")), thing("cube", at(x=500.0)))[0].defects == ()
    away = CameraSpec("up", (1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 10), 100.0)  # looks up, away from the cube
    assert placed(recipe(Defect(kind="dent")), thing("cube", at()), cameras=(away,))[0].defects == ()
    assert placed(recipe(Defect(kind="dent", on=("other",))), thing("cube", at()))[0].defects == ()


def test_the_same_stream_places_the_same_flaws():
    kinds = recipe(Defect(kind="crack"), Defect(kind="patch"))
    first = placed(kinds, thing("ball", at()), seed=9)
    assert placed(kinds, thing("ball", at()), seed=9) == first
    assert placed(kinds, thing("ball", at()), seed=10) != first


def test_the_surface_moves_only_where_relief_is_seen():
    # A pixel covers 95 mm of the cube's top: 0.3 m of depth is seen as depth, 0.01 m only as shading.
    deep, shallow = (Defect(kind="dent", size_m=0.8, depth_m=d, rim_m=0.0) for d in (0.3, 0.01))
    (cube,) = placed(recipe(deep), thing("cube", at()))
    assert cube.defects[0].numbers["displace"] == 1
    assert 0 < cube.mesh.detail_m < 0.1
    ((x, y, z, radius),) = cube.mesh.detail_at
    assert (x, y, z) == pytest.approx(tuple(rows(cube.defects[0].frame)[:, 3]))
    assert 0.4 <= radius < 0.7
    (cube,) = placed(recipe(shallow), thing("cube", at()))
    assert cube.defects[0].numbers["displace"] == 0
    assert cube.mesh.detail_m == 0


def test_a_preset_s_lines_are_as_wide_as_can_be_seen_unless_the_recipe_says_otherwise():
    # A pixel covers 95 mm of the cube's top. Pits of 0.6 cells of 1 m are 8 to 21 mm wide: four times that at
    # most.
    pits = Defect(kind="pitting", size_m=1.0, values={"pit": 0.3})
    assert 4 * 0.014 <= placed(recipe(pits), thing("cube", at()))[0].defects[0].numbers["cell"] <= 4 * 0.035
    finer = msgspec.structs.replace(pits, values={"pit": 0.3, "cell": 0.02})
    assert placed(recipe(finer), thing("cube", at()))[0].defects[0].numbers["cell"] == 0.02
    # A scratch of 2 m is 16 to 80 mm wide: 1.8 pixels where four times its width is that much.
    scratch = Defect(kind="scratch", size_m=2.0, values={"strands": 1.0})
    for seed in range(5):
        (flaw,) = placed(recipe(scratch), thing("cube", at()), seed=seed)[0].defects
        assert 4 * 0.016 <= flaw.size_m[1] <= 1.8 * 0.095 + 1e-9
    exact = msgspec.structs.replace(scratch, aspect=0.01)
    assert placed(recipe(exact), thing("cube", at()))[0].defects[0].size_m == pytest.approx((2.0, 0.02))


def test_a_flaw_can_be_told_from_the_part():
    white = msgspec.structs.replace(
        thing("cube", at()), material=MaterialSpec("paint", {"body": (0.7, 0.7, 0.7)})
    )
    for seed in range(5):
        (cube,) = placed(recipe(Defect(kind="scratch", cover=1.0)), white, seed=seed)
        body = cube.defects[0].material.colours["body"]
        assert max(body) < 0.5  # on white the dark one of the scratch's colours


def test_category_and_what_it_is_made_of():
    named = Defect(kind="hole", name="puncture", cover=0.0)
    (cube,) = placed(recipe(named), thing("cube", at()))
    (flaw,) = cube.defects
    assert (flaw.category, flaw.hole, flaw.material) == ("puncture", True, None)
    quiet = msgspec.structs.replace(
        recipe(named), labels=msgspec.convert({"defects": False}, type(recipe().labels))
    )
    assert placed(quiet, thing("cube", at()))[0].defects[0].category == ""
