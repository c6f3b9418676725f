import math
from collections import Counter

import msgspec
import numpy as np
import pytest

from render.core.spec import MeshSpec
from render.planner.stamps import ADVANCE, stamp
from render.recipe.distributions import Distribution
from render.recipe.tables import Stamp
from render.shapes.kernels.surface import Panel
from render.worker.glyphs import glyph

# A face that looks along +x, the line of digits along +y: the end of a billet 2 x 2 x 4 units.
PANEL = Panel((0, 1, 0, 0, 0, 1, 1, 0, 0), (2.0, 0.0, 0.0), 1.8, 1.8)
STAMP = Stamp(length=10.0, height_m=0.01, relief_m=0.001)
HERE = (0.1, 0.0, 0.0, 5.0, 0.0, 0.1, 0.0, 6.0, 0.0, 0.0, 0.1, 7.0)  # 0.1 m per unit, moved


def stamped(made=STAMP, panel=PANEL, at=HERE, seed=0):
    return stamp(made, panel, 0.1, at, np.random.default_rng(seed))


def rows(pose):
    return np.reshape(pose, (3, 4))


def area_above(surface):
    """Area, seen from the front, of what stands above the face."""
    tops = surface.vertices[surface.triangles][:, :, 2].mean(axis=1) > 0
    return surface.normals[tops, 2].sum() / 2


# ---- where they are --------------------------------------------------------------------------------------


def test_a_line_of_digits_on_the_face_that_carries_it():
    line = stamped()
    assert len(line) == 10
    places = np.array([rows(glyph_.pose)[:, 3] for glyph_ in line])
    assert places[:, 0] == pytest.approx(5.2)  # the face at 2 units of 0.1 m from the part's middle at 5
    steps = np.diff(places[:, 1])
    assert steps == pytest.approx(ADVANCE * 0.01, abs=0.002)
    for glyph_ in line:
        turn = rows(glyph_.pose)[:, :3]
        assert np.linalg.det(turn) == pytest.approx(0.01**3)  # no mirror, 10 mm high
        assert turn[:, 2] / 0.01 == pytest.approx([1, 0, 0], abs=1e-9)  # out of the face
        assert turn[1, 0] / 0.01 == pytest.approx(1, abs=0.02)  # along it
        assert glyph_.mesh.form["relief"] <= 0.1 * 1.1 + 1e-9  # 1 mm of 10 mm


def test_a_line_too_long_is_made_smaller():
    long = msgspec.structs.replace(STAMP, length=30.0)
    line = stamped(long)
    height = np.linalg.norm(rows(line[0].pose)[:, 0])
    assert height == pytest.approx(0.18 * 0.94 / (30 * ADVANCE))
    places = np.array([rows(glyph_.pose)[1, 3] for glyph_ in line]) - 6.0
    assert np.abs(places).max() + height / 2 < 0.09


def test_the_line_stays_on_the_face():
    for seed in range(30):
        for glyph_ in stamped(seed=seed):
            _, y, z = rows(glyph_.pose)[:, 3] - (5, 6, 7)
            assert abs(y) < 0.09 - 0.004
            assert abs(z) < 0.09 - 0.004


def test_a_turned_part_takes_its_digits_along():
    c, s = math.cos(0.7) * 0.1, math.sin(0.7) * 0.1
    turned = (c, -s, 0.0, 0.0, s, c, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0)
    still = stamped(at=(0.1, 0, 0, 0, 0, 0.1, 0, 0, 0, 0, 0.1, 0))
    for one, other in zip(stamped(at=turned), still, strict=True):
        turn = rows(turned)[:, :3] / 0.1
        assert rows(one.pose) == pytest.approx(turn @ rows(other.pose), abs=1e-12)
        assert one.mesh == other.mesh


# ---- how well they can be read ---------------------------------------------------------------------------


@pytest.mark.integration
def test_levels_come_in_the_shares_asked():
    # 10 digits: 6 well, 2.5 partly, 1.5 poorly; the halves go up or down.
    asked = msgspec.structs.replace(STAMP, well=0.6, partly=0.25, poorly=0.15)
    total = Counter()
    for seed in range(200):
        counts = Counter(glyph_.legibility for glyph_ in stamped(asked, seed=seed))
        assert counts["well"] == 6
        assert counts["partly"] in (2, 3)
        assert counts["poorly"] in (1, 2)
        total += counts
    assert total["partly"] == pytest.approx(500, abs=40)


def test_shares_need_not_sum_to_one():
    only = msgspec.structs.replace(STAMP, well=0.0, partly=0.3, poorly=0.0)
    assert {glyph_.legibility for glyph_ in stamped(only)} == {"partly"}


def test_the_worse_to_read_the_less_is_left():
    left = {"well": [], "partly": [], "poorly": []}
    eights = msgspec.structs.replace(STAMP, characters="8", well=0.34, partly=0.33, poorly=0.33)
    for glyph_ in stamped(eights) + stamped(eights, seed=1):
        whole = msgspec.structs.replace(glyph_.mesh, form={**glyph_.mesh.form, "erase": 0.0, "warp": 0.0})
        left[glyph_.legibility].append(area_above(glyph(glyph_.mesh)) / area_above(glyph(whole)))
    assert min(left["well"]) > 0.9
    assert 0.5 < min(left["partly"]) < max(left["partly"]) < 0.9
    assert max(left["poorly"]) < 0.65


def test_texts_are_of_the_characters_asked_and_differ():
    made = msgspec.structs.replace(STAMP, characters="AB7", length=Distribution(uniform=(10.0, 12.0)))
    lines = [stamped(made, seed=seed) for seed in range(20)]
    assert {len(line) for line in lines} == {10, 11, 12}
    assert {glyph_.mesh.text for line in lines for glyph_ in line} == set("AB7")
    assert stamped(made, seed=4) == lines[4]


# ---- their surface ---------------------------------------------------------------------------------------


def character(text, **form):
    return glyph(MeshSpec(shape="glyph", text=text, form={"relief": 0.1, "weight": 0.15, **form}))


def test_a_one_is_a_bar_of_the_size_asked():
    bar = character("I")
    low, high = bar.vertices.min(axis=0), bar.vertices.max(axis=0)
    assert (low[1], high[1]) == pytest.approx((-0.5, 0.5), abs=0.02)
    assert (low[0], high[0]) == pytest.approx((-0.075, 0.075), abs=0.02)
    assert (low[2], high[2]) == pytest.approx((-0.003, 0.1))
    # Round ends of radius 0.075: a rectangle and a disc.
    assert area_above(bar) == pytest.approx(0.15 * 0.85 + math.pi * 0.075**2, rel=0.06)
    assert (bar.normals[:, 2] > 0).all()


def test_the_border_lies_in_the_face_and_holes_stay_open():
    surface = character("8")
    edges = np.sort(np.concatenate([surface.triangles[:, [i, (i + 1) % 3]] for i in range(3)]), axis=1)
    found, times = np.unique(edges, axis=0, return_counts=True)
    assert set(times) == {1, 2}
    border = found[times == 1]
    assert surface.vertices[border.ravel(), 2] == pytest.approx(-0.003)
    # Closed loops: the outer one and two holes.
    neighbours = {}
    for a, b in border.tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    assert all(len(n) == 2 for n in neighbours.values())
    loops, left = 0, set(neighbours)
    while left:
        loops += 1
        stack = [left.pop()]
        while stack:
            fresh = [n for n in neighbours[stack.pop()] if n in left]
            left -= set(fresh)
            stack += fresh
    assert loops == 3


@pytest.mark.parametrize("erase", [0.2, 0.5, 0.7])
def test_wear_takes_the_share_asked(erase):
    for seed in range(4):
        left = area_above(character("3", erase=erase, seed=seed)) / area_above(character("3"))
        assert left == pytest.approx(1 - erase, abs=0.04)


def test_slant_leans_to_the_right():
    upright, leaning = character("I"), character("I", slant=0.3)
    top = upright.vertices[:, 1] > 0.45
    assert upright.vertices[top, 0].mean() == pytest.approx(0, abs=0.01)
    top = leaning.vertices[:, 1] > 0.45
    assert leaning.vertices[top, 0].mean() == pytest.approx(0.3 * 0.48, abs=0.02)


def test_tops_carry_the_accent():
    surface = character("5")
    assert set(surface.accent[surface.vertices[:, 2] < 0.04]) == {0.0}
    assert set(surface.accent[surface.vertices[:, 2] > 0.09]) == {1.0}


def test_the_same_form_is_the_same_surface_and_another_seed_is_not():
    one, same, other = (character("9", erase=0.4, warp=0.5, seed=s) for s in (1, 1, 2))
    assert np.array_equal(one.vertices, same.vertices)
    assert not np.array_equal(one.vertices, other.vertices)
