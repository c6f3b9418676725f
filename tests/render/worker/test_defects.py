"""Flaws in the real Blender: where they are marked, what they do to the surface."""

import math

import msgspec
import numpy as np
import pytest
from support.placed_defects import placed, recipe, rows
from support.small_scenes import SURFACES, at, build, plate, scene, thing

from render.annotation.annotate import flaw_mask
from render.core.spec import CameraSpec, DefectSpec, MaterialSpec
from render.recipe.outlines import COMMON, OUTLINES
from render.recipe.presets import PRESETS
from render.recipe.tables import Defect
from render.shapes.kernels.refine import refine_surface

RED = MaterialSpec("plastic", {"body": (0.8, 0.0, 0.0)}, {"roughness": 1.0})


def flaw(number, frame, size, outline="blot", **more):
    more["numbers"] = {
        "wander": 0.0,
        "bowl": 0.5,
        "rim_width": 0.25,
        "hole_share": 1.0,
        "through": 0.5,
        **more.pop("numbers", {}),
    }
    return DefectSpec(number, "flaw", outline, frame, size, **{"softness": 0.02, **more})


def shot_of(spec, sun_rad=0.0):
    """What the first camera sees, every object in a plain grey with its flaws."""
    bpy = pytest.importorskip("bpy")
    from render.worker.defects.defects import apply
    from render.worker.materials.nodes import Nodes, SurfaceSockets, finish
    from render.worker.passes import render_view

    def materials():
        made = {}
        for number, one in enumerate(spec.objects):
            material = made[number] = bpy.data.materials.new("m")
            material.use_nodes = True
            nodes = Nodes(material.node_tree)
            surface = apply(nodes, SurfaceSockets((0.4, 0.4, 0.4), specular=0.0), one.defects)
            finish(nodes, surface)
            if surface.displacement is not None:
                material.displacement_method = "DISPLACEMENT"
        return made

    stage = build(spec, materials)
    for one in spec.objects:
        stage.objects[one.name]["scale_m"] = float(np.linalg.norm(rows(one.pose)[:, 0]))
    stage.objects["sun"].rotation_euler = (0.0, sun_rad, 0.0)
    return render_view(stage, spec, spec.views[0])


def extent(mask):
    across, down = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return across[0], down[0], across[-1] + 1, down[-1] + 1


@pytest.mark.render
def test_an_ellipse_is_marked_where_arithmetic_puts_it():
    # A plate of 10 m at 10 px per metre: 0.4 x 0.2 of its units are 40 x 20 px.
    lying = flaw(1, at(0.1, -0.2), (0.4, 0.2))
    standing = flaw(2, at(-0.2, 0.2, turn=math.pi / 2), (0.4, 0.2))
    one = thing("plate", at(size=10.0), defects=(lying, standing))
    spec = scene(one, samples=16)
    shot = shot_of(spec)
    first, second = (flaw_mask(shot, one, f) for f in one.defects)
    assert first.sum() == pytest.approx(math.pi / 4 * 800, rel=0.03)
    assert second.sum() == pytest.approx(math.pi / 4 * 800, rel=0.03)
    assert extent(first) == pytest.approx((64 + 10 - 20, 64 + 20 - 10, 64 + 10 + 20, 64 + 20 + 10), abs=1)
    assert extent(second) == pytest.approx((64 - 20 - 10, 64 - 20 - 20, 64 - 20 + 10, 64 - 20 + 20), abs=1)


@pytest.mark.render
def test_a_flaw_is_not_on_the_other_side_of_a_thin_part():
    # Half as long again as the cube is thick, it would reach through.
    below = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, -1.0, -0.5)
    for frame, seen in ((at(z=0.5), True), (below, False)):
        one = thing("cube", at(size=4.0), defects=(flaw(1, frame, (2.4, 2.4), material=RED),))
        shot = shot_of(scene(one), sun_rad=0.8)
        assert flaw_mask(shot, one, one.defects[0]).any() == seen
        assert (shot.light[64, 64, 1] < 0.3 * shot.light[64, 64, 0]) == seen


@pytest.mark.render
def test_a_hole_opens_and_stays_marked():
    half = flaw(1, at(), (0.8, 0.8), hole=True, material=RED, numbers={"hole_share": 0.5})
    one = thing("plate", at(size=10.0), defects=(half,))
    shot = shot_of(scene(one, samples=16), sun_rad=0.8)
    disc = math.pi / 4 * 80**2
    assert flaw_mask(shot, one, half).sum() == pytest.approx(disc, rel=0.02)
    assert (shot.index == 0).sum() - (128**2 - 100**2) == pytest.approx(disc / 4, rel=0.03)
    assert shot.alpha[64, 64] == 0
    assert shot.light[64, 64 + 30, 0] > 3 * shot.light[64, 64 + 30, 1]  # its red rim
    assert shot.light[64, 64 + 45, 0] == pytest.approx(shot.light[64, 64 + 45, 1], rel=0.01)


@pytest.mark.render
def test_cover_mixes_what_lies_on_the_part_with_it():
    spots = [
        flaw(n, at((n - 2) * 0.3), (0.2, 0.2), material=RED, cover=c)
        for n, c in ((1, 0.25), (2, 0.5), (3, 1.0))
    ]
    shot = shot_of(scene(thing("plate", at(size=10.0), defects=tuple(spots)), samples=16), sun_rad=0.8)
    grey, *green = (shot.light[row, 64 + x, 1] for row, x in ((30, 0), (64, -30), (64, 0), (64, 30)))
    assert np.array(green) / grey == pytest.approx([0.75, 0.5, 0.0], abs=0.08)  # and some gloss


@pytest.mark.render
@pytest.mark.parametrize("displaced", [0.0, 1.0])
def test_a_pit_is_bright_on_the_side_away_from_the_light_and_a_bump_towards_it(displaced, monkeypatch):
    monkeypatch.setitem(SURFACES, "fine", refine_surface(plate(), 0.02))
    slopes = {}
    for depth in (0.02, -0.02):
        round_ = flaw(1, at(), (0.4, 0.4), depth_m=depth, numbers={"bowl": 1.0, "displace": displaced})
        shot = shot_of(scene(thing("fine", at(size=10.0), defects=(round_,)), samples=8), sun_rad=0.8)
        inside = shot.light[54:74, 49:79, 0]
        slopes[depth] = inside[:, :15].mean() / inside[:, 15:].mean()
    # The light comes from +x. Slopes of 0.1 on average turn it by 6 of 44 degrees.
    assert slopes[0.02] == pytest.approx(1 / slopes[-0.02], rel=0.05)
    assert 1.1 < slopes[0.02] < 1.6


@pytest.mark.render
def test_a_moved_surface_stands_out_of_the_silhouette(monkeypatch):
    monkeypatch.setitem(SURFACES, "fine", refine_surface(plate(), 0.02))
    level = CameraSpec("level", (1, 0, 0, 0, 0, 0, -1, -100, 0, 1, 0, 0), 1000.0)  # 10 px per metre
    for displaced in (0.0, 1.0):
        blister = flaw(1, at(), (0.4, 0.4), depth_m=-0.1, numbers={"displace": displaced})
        shot = shot_of(scene(thing("fine", at(size=10.0), defects=(blister,)), camera=level))
        found = np.argwhere(shot.index == 1)
        high = 64 - found[:, 0].min() if len(found) else 0
        assert high == pytest.approx(10 if displaced else 0, abs=1)  # 0.1 units of 10 m


@pytest.mark.render
def test_only_what_was_dealt_is_compiled():
    bpy = pytest.importorskip("bpy")
    from render.worker.defects.defects import apply
    from render.worker.materials.nodes import Nodes, SurfaceSockets

    def kinds(*flaws):
        material = bpy.data.materials.new("m")
        material.use_nodes = True
        apply(Nodes(material.node_tree), SurfaceSockets((0.4, 0.4, 0.4)), flaws)
        return [node.bl_idname for node in material.node_tree.nodes]

    assert kinds() == []
    plain = kinds(flaw(1, at(), (1.0, 1.0)), flaw(2, at(), (1.0, 1.0)))
    assert plain.count("ShaderNodeOutputAOV") == 2
    assert not {"ShaderNodeTexNoise", "ShaderNodeBump", "ShaderNodeTexVoronoi"} & set(plain)
    assert "ShaderNodeTexVoronoi" in kinds(
        flaw(1, at(), (1.0, 1.0), "pits", numbers={"cell": 0.1, "pit": 0.3})
    )


@pytest.mark.render
def test_every_preset_is_marked_and_keeps_within_its_size():
    # A plate of 2 m for each, at 25 px per metre; flaws of 1.6 m across x: 40 px wide.
    names = list(PRESETS)
    objects, kinds = [], []
    for number, name in enumerate(names):
        where = at((number % 5 - 2) * 2.4, (number // 5 - 2) * 2.4, size=2.0)
        objects.append(msgspec.structs.replace(thing("plate", where, index=number + 1), name=f"p{number}"))
        values = {"turn_deg": 0.0} | ({"strands": 3.0} if PRESETS[name].outline == "streak" else {})
        kinds.append(Defect(kind=name, on=(f"p{number}",), size_m=1.6, aspect=0.5, values=values))
    camera = CameraSpec("down", at(z=10.0), 250.0)
    made = placed(recipe(*kinds), *objects, cameras=(camera,), size=(320, 320))
    shot = shot_of(scene(*made, camera=camera, samples=8, side=320))
    for name, one in zip(names, made, strict=True):
        (spec,) = one.defects
        mask = flaw_mask(shot, one, spec)
        assert mask.sum() > (20 if PRESETS[name].outline == "crack" else 80), name
        frame, place_ = rows(spec.frame), rows(one.pose)
        middle = place_[:, :3] @ frame[:, 3] + place_[:, 3]
        left, upper, right, lower = extent(mask)
        x, y = 160 + 25 * middle[0], 160 - 25 * middle[1]
        # A raised rim and the last row of pits go a little beyond.
        assert x - 24 <= left < right <= x + 24, name
        assert y - 14 <= upper < lower <= y + 14, name


@pytest.mark.parametrize("outline", OUTLINES)
def test_every_outline_has_its_nodes(outline):
    pytest.importorskip("bpy")
    from render.worker.defects.outlines import OUTLINES as BUILT

    assert set(BUILT) == set(OUTLINES)
    assert not set(COMMON) & set(OUTLINES[outline])
