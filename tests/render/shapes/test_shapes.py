"""Built-in shapes: closed, outward, as large as they say, and made of what they say. Unit: their size."""

import math

import numpy as np
import pytest
from support.watertight import euler, extent, is_closed

from render.shapes import SHAPES, build_surface
from render.shapes.airfoil import Aerofoil, section

SINGLE = [name for name, shape in SHAPES.items() if shape.components == ("",)]


def surface(shape, component="", **form):
    return build_surface(shape, form, component)


def coarse_limits(shape):
    for name, p in SHAPES[shape].parameters.items():
        high = min(p.high, max(2 * p.low, 24)) if name == "cells" else min(p.high, 20 * max(p.low, 1))
        yield name, p.low, high


def forms(shape, count, rng):
    """The lowest and the highest values, then random ones, limits included; all coarse."""
    yield {name: low for name, low, _ in coarse_limits(shape)}
    yield {name: high for name, _, high in coarse_limits(shape)}
    for _ in range(count):
        yield {
            name: float(rng.choice([low, high])) if rng.uniform() < 0.4 else rng.uniform(low, high)
            for name, low, high in coarse_limits(shape)
        }


@pytest.mark.integration
@pytest.mark.parametrize("shape", SINGLE)
def test_every_shape_is_closed_outward_and_about_the_origin(shape):
    made = surface(shape)
    assert is_closed(made)
    assert made.volume > 0
    low, high = extent(made)
    assert low == pytest.approx(-high, abs=1e-9)
    # Where the outermost points are, faces look outward: the volume alone would miss a small piece inside
    # out.
    outermost = made.vertices[made.triangles].mean(axis=1).argmax(axis=0)
    assert (made.normals[outermost, [0, 1, 2]] > 0).all()
    assert np.linalg.norm(made.normals, axis=1).min() > 0


@pytest.mark.integration
@pytest.mark.parametrize("shape", SINGLE)
def test_no_allowed_form_breaks_a_shape(shape):
    for form in forms(shape, 4, np.random.default_rng(7)):
        made = surface(shape, **form)
        assert is_closed(made), form
        assert made.volume > 0, form


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_says_what_its_parameters_are(shape):
    described = SHAPES[shape]
    assert described.size
    assert described.build
    for p in described.parameters.values():
        assert p.low <= p.default <= p.high
        assert p.low < p.high
        assert p.meaning
    for rest in described.rests:
        turn = np.reshape(rest.rotation, (3, 3))
        assert turn @ turn.T == pytest.approx(np.eye(3))
        assert np.linalg.det(turn) == pytest.approx(1)
        assert rest.state == "" or rest.state in described.states


@pytest.mark.integration
@pytest.mark.parametrize(
    ("shape", "form", "size"),
    [
        ("die", {}, (1, 1, 1)),
        (
            "bolt",
            {"length": 5, "head_height": 0.7, "head_width": 1.6},
            (1.6 / math.cos(math.pi / 6), 1.6, 5.7),
        ),
        ("nut", {"width": 1.5, "height": 0.8}, (1.5 / math.cos(math.pi / 6), 1.5, 0.8)),
        ("washer", {"outer": 2.2, "thickness": 0.15}, (2.2, 2.2, 0.15)),
        ("bracket", {"height": 0.7, "width": 0.4, "gusset": 0.06}, (1, 0.4, 0.7)),
        ("slab", {"width": 0.6, "thickness": 0.2}, (1, 0.6, 0.2)),
        ("sheet", {"width": 0.5, "thickness": 0.002}, (1, 0.5, 0.002)),
        ("billet", {"length": 7}, (7, 1, 1)),
        *(
            (name, {"y": 0.6, "z": 0.3}, (1, 0.6, 0.3))
            for name in ("box", "sphere", "cylinder", "cone", "torus")
        ),
    ],
)
def test_a_shape_is_as_large_as_it_says(shape, form, size):
    low, high = extent(surface(shape, **form))
    assert high - low == pytest.approx(size, rel=1e-6)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("shape", "form"), [("blade", {}), ("vane", {}), ("vane", {"count": 3, "radius": 1.5})]
)
def test_blades_are_one_high(shape, form):
    low, high = extent(surface(shape, **form))
    assert high[2] - low[2] == pytest.approx(1)


def ellipse(y, z):
    return math.pi / 4 * y * z


@pytest.mark.parametrize(
    ("shape", "form", "volume", "within"),
    [
        ("sphere", {"y": 0.5, "z": 0.8, "cells": 128}, math.pi / 6 * 0.4, 0.005),
        ("cylinder", {"y": 0.5, "z": 2, "edge": 0, "cells": 128}, ellipse(0.5, 2), 0.005),
        ("cone", {"z": 3, "cells": 128}, math.pi / 4, 0.005),
        # Tube of half axes 0.2 and 0.5 z, its middle on a circle of 0.3 (Pappus).
        ("torus", {"tube": 0.2, "z": 0.4, "cells": 128}, 2 * math.pi * 0.3 * math.pi * 0.2 * 0.2, 0.01),
        ("box", {"y": 0.5, "z": 0.5, "edge": 0.005}, 0.25, 0.001),
        ("slab", {"width": 0.5, "thickness": 0.1, "edge": 0.01}, 0.05, 0.001),
        # A square with rounded corners loses (4 - pi) r².
        ("billet", {"length": 4, "edge": 0.2}, 4 * (1 - (4 - math.pi) * 0.04), 0.002),
        # Four chamfers of 0.05: triangles of 0.05² / 2 whose centres are at radius 0.5 + 0.05 / 3 and 1 -
        # 0.05 / 3.
        (
            "washer",
            {"outer": 2, "inner": 1, "thickness": 0.2, "cells": 240},
            0.2 * math.pi * 0.75 - 2 * 2 * math.pi * 0.05**2 / 2 * 1.5,
            0.001,
        ),
        # A cube of 0.8, its sides, edges and corners rounded by 0.1; the ball is too large to cut.
        (
            "die",
            {"roundness": 0.1, "ball": 1.8, "pip_radius": 0},
            0.8**3 + 6 * 0.8**2 * 0.1 + 3 * math.pi * 0.8 * 0.1**2 + 4 / 3 * math.pi * 0.1**3,
            0.001,
        ),
    ],
)
def test_known_volumes(shape, form, volume, within):
    assert surface(shape, **form).volume == pytest.approx(volume, rel=within)


def test_a_longer_bolt_has_more_shank():
    """Both have 2.4 diameters of thread: the difference is four diameters of a cylinder of radius 0.48."""
    short = surface("bolt", length=4, thread=0.6, cells=144)
    long = surface("bolt", length=8, thread=0.3, cells=144)
    assert long.volume - short.volume == pytest.approx(4 * math.pi * 0.48**2, rel=0.005)


@pytest.mark.parametrize(("shape", "reach"), [("bolt", 0.9), ("nut", 0.3)])
def test_threads_are_right_handed_with_the_asked_pitch(shape, reach):
    """A quarter turn against the clock lifts the crest by a quarter of a pitch."""
    pitch = 0.2
    made = surface(
        shape, pitch=pitch, **({"length": 4, "thread": 0.9} if shape == "bolt" else {"height": 1.2})
    )
    radius = np.hypot(made.vertices[:, 0], made.vertices[:, 1])
    angle = np.degrees(np.arctan2(made.vertices[:, 1], made.vertices[:, 0]))

    def phase(degrees):
        """Where in a pitch the metal's edge is, from the first harmonic of radius over height."""
        on = (np.abs(angle - degrees) < 1) & (np.abs(made.vertices[:, 2]) < reach / 2) & (radius < 0.51)
        turn = np.exp(2j * np.pi * made.vertices[on, 2] / pitch)
        wave = ((radius[on] - radius[on].mean()) * turn).sum()
        assert abs(wave) > 0.2 * np.abs(radius[on] - radius[on].mean()).sum()
        return np.angle(wave) / (2 * np.pi)

    assert (phase(90) - phase(0)) % 1 == pytest.approx(0.25, abs=0.02)
    root = 0.5 - pitch * 5 / 8 * math.sqrt(3) / 2
    within = np.abs(made.vertices[:, 2]) < reach / 2
    assert radius[within & (radius > 0.1)].min() == pytest.approx(root, abs=1e-6)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("shape", "form", "expected"),
    [
        ("nut", {}, 0),
        ("washer", {}, 0),
        ("torus", {}, 0),
        ("bolt", {}, 2),
        ("blade", {}, 2),
        ("bracket", {"holes": 0}, 2),
        ("bracket", {"holes": 2, "rows": 1}, 2 - 2 * 4),
        ("bracket", {"holes": 1, "rows": 3}, 2 - 2 * 6),
        ("bracket", {"holes": 1, "rows": 1, "gusset": 0.05}, 2 - 2 * 2 + 2 * 2),
        # Two platforms and n aerofoils make n - 1 holes; the two rails are pieces of their own.
        ("vane", {"count": 1}, 2 + 2 * 2),
        ("vane", {"count": 3}, 2 - 2 * 2 + 2 * 2),
    ],
)
def test_shapes_have_the_holes_they_say(shape, form, expected):
    assert euler(surface(shape, **form)) == expected


def test_a_bracket_weighs_what_its_flat_plate_does():
    """Folding keeps the volume, as the arc is measured at half the thickness (Pappus)."""
    form = {
        "height": 0.8,
        "width": 0.5,
        "thickness": 0.05,
        "bend": 0.06,
        "holes": 2,
        "hole": 0.4,
        "corner": 0.2,
    }
    made = surface("bracket", **form)
    flat = 1 - 0.11 + 0.8 - 0.11 + (0.06 + 0.025) * math.pi / 2
    radius, corner = 0.4 * (0.8 - 0.11) / 2 / 2, 0.2 * 0.5 / 2
    area = flat * 0.5 - 4 * math.pi * radius**2 - (4 - math.pi) * corner**2
    assert made.volume == pytest.approx(0.05 * area, rel=0.015)


def test_an_aerofoil_section_has_the_area_of_its_family():
    """Integral of the four-digit thickness, plus the wedge that makes the trailing edge round."""
    outline = section(0.0, 0.15, 200)
    x, y = outline.T
    area = 0.5 * float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
    family = 10 * 0.15 * (0.2969 / 1.5 - 0.1260 / 2 - 0.3516 / 3 + 0.2843 / 4 - 0.1036 / 5)
    assert area == pytest.approx(family + 2 * 0.014 / 2, rel=0.01)
    assert np.ptp(x) == pytest.approx(1, abs=1e-3)


def test_an_aerofoil_is_staggered_tapered_and_twisted():
    foil = Aerofoil(0.4, 0.5, 0.12, 1.0, 60, 20, 30, 60)
    for share, chord, degrees in ((0.0, 0.4, 20), (1.0, 0.2, 50)):
        outline = foil.at(share)
        back = outline[[0, -1]].mean(axis=0) - outline[[59, 60]].mean(axis=0)
        assert np.linalg.norm(back) == pytest.approx(chord, rel=0.01)
        assert math.degrees(math.atan2(-back[1], back[0])) == pytest.approx(degrees, abs=0.5)


def test_a_billets_panel_lies_flat_on_its_end():
    panel = SHAPES["billet"].stamped({"length": 6.0})
    along, up, outward = np.reshape(panel.axes, (3, 3))
    assert np.cross(along, up) == pytest.approx(outward)
    assert panel.centre == pytest.approx(3.0 * outward)
    made = surface("billet", length=6.0)
    shown = made.vertices[made.triangles].mean(axis=1)
    within = (np.abs(shown @ along) < panel.length / 2) & (np.abs(shown @ up) < panel.height / 2)
    face = within & (shown @ outward > 2.9)
    assert face.sum() > 100
    assert shown[face] @ outward == pytest.approx(3.0)
    # Flat all over: its triangles cover the panel, but for those that reach over its rim.
    covered = float(np.linalg.norm(made.normals[face], axis=1).sum() / 2)
    assert covered == pytest.approx(panel.length * panel.height, rel=0.08)
    assert SHAPES["billet"].stamped({}).centre[0] == SHAPES["billet"].parameters["length"].default / 2


@pytest.mark.integration
@pytest.mark.parametrize("shape", ["slab", "sheet"])
def test_textures_keep_their_proportions_on_flat_faces(shape):
    made = surface(shape)
    flat = made.normals[:, 2] > 0.9999 * np.linalg.norm(made.normals, axis=1)
    corners = made.uv[made.fans][flat]
    points = made.vertices[made.triangles][flat][:, :, :2]
    stretched = np.linalg.norm(corners[:, 1:] - corners[:, :1], axis=2)
    assert stretched == pytest.approx(
        np.linalg.norm(points[:, 1:] - points[:, :1], axis=2), rel=0.02, abs=1e-6
    )
    assert flat.sum() > 20_000


def test_a_form_is_completed_and_its_surface_shared():
    first = surface("washer", outer=3.0)
    assert first is build_surface("washer", {"outer": 3, "inner": 1.05, "thickness": 0.2, "cells": 72}, "")
    with pytest.raises(ValueError, match="read-only"):
        first.vertices[0] = 0.0
