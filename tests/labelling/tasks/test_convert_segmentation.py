"""Polygons and brush strokes: conversion and refusals."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from shapely import Polygon
from support.outline_regions import SIZE, TRIANGLE, block, mask2rle, painted, polygon, shape

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.task import Edits
from al_loop.labelling.tasks.agreement import consensus
from al_loop.labelling.tasks.convert import from_result, region
from al_loop.labelling.tasks.edits import count_edits
from al_loop.labelling.tasks.project import check_labels, labelling_config, read_labels
from al_loop.labelling.tasks.regions import ImageSize, RefusedResultError
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes

CLASSES = ["one", "two"]


@st.composite
def polygons_in_images(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """Polygons whose corners are in the order of their angles, so that none crosses itself."""
    width, height = draw(st.integers(2, 20_000)), draw(st.integers(2, 20_000))
    turns = draw(st.lists(st.integers(0, 359), min_size=3, max_size=12, unique=True))
    angles = np.radians(sorted(turns))
    reach = np.array(draw(st.lists(st.floats(0.01, 0.5), min_size=len(turns), max_size=len(turns))))
    corners = 0.5 + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return corners * [width, height], width, height


@pytest.mark.integration
@settings(max_examples=300, deadline=None)
@given(polygons_in_images())
def test_polygons_come_back_within_a_millionth_of_a_pixel(case: tuple[np.ndarray, int, int]) -> None:
    points, width, height = case
    assume(abs(_area(points)) > 1e-3 and Polygon(points).is_valid)
    item = shape(
        "polygonlabels", {"points": (100 * points / [width, height]).tolist()}, ImageSize(width, height)
    )
    back = from_result(json.loads(json.dumps([item])), ImageSize(width, height), CLASSES, drawn="outlines")
    assert back.outlines is not None
    (outline,) = back.outlines
    assert isinstance(outline, list)
    np.testing.assert_allclose(np.array(outline[0]).reshape(-1, 2), points, rtol=0, atol=1e-6)
    np.testing.assert_allclose(back.xyxy[0], [*points.min(axis=0), *points.max(axis=0)], rtol=0, atol=1e-6)
    assert segmentation.area(outline) == pytest.approx(abs(_area(points)), rel=1e-6, abs=1e-3)


def _area(points: np.ndarray) -> float:
    x, y = points.T
    return float(sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(x)))) / 2


def test_an_outline_is_kept_and_its_hull_is_the_box() -> None:
    rectangle = region("r", np.array([20.0, 10.0, 60.0, 30.0]), "two", SIZE)
    found = from_result([polygon(), rectangle, painted(block())], SIZE, CLASSES, drawn="outlines")
    np.testing.assert_allclose(found.xyxy, [[20, 10, 100, 60], [20, 10, 60, 30], [30, 20, 70, 40]])
    assert found.labels.tolist() == [0, 1, 0]
    assert found.outlines is not None
    triangle, none, mask = found.outlines
    assert triangle == [[20.0, 10.0, 100.0, 10.0, 100.0, 60.0]]
    assert segmentation.area(triangle) == 80 * 50 / 2
    assert none is None
    assert isinstance(mask, dict)
    np.testing.assert_array_equal(coco.decode(mask), block() > 0)
    assert segmentation.area(mask) == 20 * 40 - 100
    # Rectangles alone have no outlines to keep.
    assert from_result([rectangle], SIZE, CLASSES, drawn="outlines").outlines is None


def test_the_soft_edge_of_a_stroke_is_cut_at_half() -> None:
    pixels = np.zeros((100, 200), np.uint8)
    pixels[10:20, 10] = 100
    pixels[10:20, 11:15] = 255
    pixels[10:20, 15] = 200
    np.testing.assert_array_equal(
        from_result([painted(pixels)], SIZE, CLASSES, drawn="outlines").xyxy, [[11, 10, 16, 20]]
    )
    # A server may send strokes that are pale all over.
    np.testing.assert_array_equal(
        from_result([painted(pixels // 4)], SIZE, CLASSES, drawn="outlines").xyxy, [[11, 10, 16, 20]]
    )


def test_what_sticks_out_of_the_image_is_cut_off() -> None:
    # A diamond around the corner of the image: a quarter of it is inside, cut by the two sides.
    diamond = from_result([polygon([[-10, 0], [0, -20], [10, 0], [0, 20]])], SIZE, CLASSES, drawn="outlines")
    np.testing.assert_allclose(diamond.xyxy, [[0, 0, 20, 20]], atol=1e-9)
    assert diamond.outlines is not None
    assert diamond.outlines[0] is not None
    assert segmentation.area(diamond.outlines[0]) == pytest.approx(20 * 20 / 2)
    # Two teeth of a comb whose back is outside: one polygon, whose area is that of both teeth.
    comb = [[10, 50], [20, 50], [20, 110], [30, 110], [30, 50], [40, 50], [40, 120], [10, 120]]
    teeth = from_result([polygon(comb)], SIZE, CLASSES, drawn="outlines")
    np.testing.assert_allclose(teeth.xyxy, [[20, 50, 80, 100]])
    assert teeth.outlines is not None
    assert teeth.outlines[0] is not None
    assert segmentation.area(teeth.outlines[0]) == pytest.approx(2 * 20 * 50)


HALF = mask2rle(block())[:-20]
WRONG_BITS = [*mask2rle(block())[:4], 0, *mask2rle(block())[5:]]
OTHER_SIZE = mask2rle(np.full((100, 100), 255, np.uint8))


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (polygon([[10, 10], [50, 10]]), "a polygon has 2 points, expected 3 or more: draw it again"),
        (polygon([]), "a polygon has 0 points"),
        (polygon(None), "Expected `array`, got `null` - at `$.points`"),
        (polygon(closed=False), "a polygon is open: close it"),
        (polygon([[10, 10], [30, 30], [50, 50]]), "a polygon has no area inside the image"),
        (polygon([*TRIANGLE, *TRIANGLE]), "a polygon has no area"),  # all of it is enclosed twice
        (polygon([[110, 10], [150, 10], [150, 60]]), "a polygon has no area inside the image"),
        (polygon([[10, 10], [50, 10], [50, float("nan")]]), "-1000000.0 - at `$.points[2][1]`"),
        (polygon([[10, 10], [50, 10], [50, float("inf")]]), "Expected `float` <= 1000000.0"),
        (polygon([[10, 10], [50, 10], [50, None]]), "Expected `float`, got `null` - at `$.points[2][1]`"),
        (polygon([[10, 10], [50, 10], [50]]), "Expected `array` of length 2, got 1"),
        (polygon([1, 2, 3]), "Expected `array`, got `int` - at `$.points[0]`"),
        (polygon(7), "Expected `array`, got `int`"),
        (polygon(polygonlabels=["three"]), "'three' is not one of the workspace's classes"),
        (polygon(polygonlabels=[]), "exactly one label"),
        (polygon(polygonlabels=["one", "two"]), "exactly one label"),
        (polygon() | {"original_width": 100, "original_height": 200}, "EXIF"),
        (polygon() | {"image_rotation": 90}, "rotated by 90"),
        (painted(block(), brushlabels=["one", "two"]), "exactly one label"),
        (painted(np.zeros((100, 200))), "nothing is left of a brush region"),
        (painted(block(), rle=OTHER_SIZE), "size, 200x100 pixels: expected 80000 numbers, got 40000"),
        (painted(block(), rle=[255, 255, 255, 255, 57, 0, 0]), "expected 80000 numbers, got 4294967295"),
        (painted(block(), rle=HALF), "cannot be decoded"),
        (painted(block(), rle=WRONG_BITS), "cannot be decoded"),
        (painted(block(), rle=[]), "cannot be decoded"),
        (painted(block(), rle=None), "Expected `array`, got `null` - at `$.rle`"),
        (painted(block(), rle=10**9), "Expected `array`, got `int`"),
        (painted(block(), rle=[0, 1, 300, 0, 0, 0, 0, 0]), "Expected `int` <= 255 - at `$.rle[2]`"),
        (painted(block(), rle=["a"] * 9), "Expected `int`, got `str`"),
        (painted(block(ImageSize(100, 80))), "saw an image of 100x80 pixels, the workspace has 200x100"),
        (shape("ellipselabels", {}), "the brush, got a region of type 'ellipselabels'"),
    ],
)  # fmt: skip
def test_what_needs_a_guess_is_refused_with_one_sentence(item: dict[str, Any], says: str) -> None:
    with pytest.raises(RefusedResultError) as caught:
        from_result([polygon(), item], SIZE, CLASSES, drawn="outlines")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.integration
@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 255), max_size=40), st.integers(0, 60))
def test_damaged_strokes_are_refused_or_read(bytes_: list[int], cut: int) -> None:
    """Any bytes give one sentence, or a mask of the image's size."""
    head = mask2rle(block())[:cut]
    try:
        found = from_result([painted(block(), rle=head + bytes_)], SIZE, CLASSES, drawn="outlines")
    except RefusedResultError:
        return
    assert found.outlines is not None
    assert isinstance(found.outlines[0], dict)
    assert found.outlines[0]["size"] == [100, 200]


@pytest.mark.parametrize("item", [polygon(), painted(block())])
def test_for_detection_outlines_are_refused_and_it_is_said_what_to_do(item: dict[str, Any]) -> None:
    with pytest.raises(RefusedResultError, match=r"draw a rectangle instead .* task = \"segmentation\""):
        from_result([item], SIZE, CLASSES)


def test_a_rectangle_that_became_an_outline_is_deleted_and_added() -> None:
    before = [region(name, np.array([20.0, 10.0, 60.0, 30.0]), "one", SIZE) for name in ("a", "b")]
    after = [before[1], polygon() | {"id": "a"}, painted(block()), {"type": "relation"}]
    assert count_edits(before, after, SIZE) == Edits(kept=1, deleted=1, added=2)


def test_consensus_keeps_the_outline_that_overlaps_the_others_most() -> None:
    def drawn(left: float, outline: bool) -> Boxes:
        corners = [[left, 0.0, left + 100, 0.0, left + 100, 100.0]]
        return Boxes(
            np.array([[left, 0.0, left + 100, 100.0]]),
            np.array([0]),
            outlines=(corners,) if outline else None,
        )

    # The rectangles at 8 and 10 overlap the others most, but have no outline to keep.
    found = consensus([drawn(0, True), drawn(8, False), drawn(10, False), drawn(14, True), drawn(26, True)])
    np.testing.assert_array_equal(found.xyxy, [[14, 0, 114, 100]])
    assert found.outlines == ([[14.0, 0.0, 114.0, 0.0, 114.0, 100.0]],)
    plain = consensus([drawn(0, False), drawn(10, False)])
    np.testing.assert_array_equal(plain.xyxy, [[5, 0, 105, 100]])
    assert plain.outlines is None


def test_boxes_and_outlines_belong_together() -> None:
    with pytest.raises(ValueError, match="expected 1 outlines to match 1 labels, got 2"):
        Boxes(np.array([[0.0, 0, 1, 1]]), np.array([0]), outlines=(None, None))


def test_each_control_has_the_classes_and_no_key_is_used_twice() -> None:
    names = [f"class {i}" for i in range(10)]
    config = labelling_config(names, drawn="outlines")
    assert read_labels(config) == {"polygon": names, "brush": names, "label": names}
    keys = [part.split('"')[0] for part in config.split('hotkey="')[1:]]
    assert len(keys) == len(set(keys)) == 30
    assert not set(keys) & set("behpruv")  # the keys of Label Studio's own tools
    check_labels(1, config, names, drawn="outlines")


def test_a_project_that_offers_something_else_is_explained() -> None:
    plain, outlined = labelling_config(CLASSES), labelling_config(CLASSES, drawn="outlines")
    with pytest.raises(
        LabelStudioError,
        match=r'(?s)4 has the controls label; .*segmentation", which needs label, polygon, brush.*new-pro',
    ):
        check_labels(4, plain, CLASSES, drawn="outlines")
    with pytest.raises(
        LabelStudioError, match=r'(?s)controls polygon, brush, label; .*task = "detection".*new-project'
    ):
        check_labels(4, outlined, CLASSES)
    changed = outlined.replace('<BrushLabels name="brush"', '<BrushLabels name="painted"')
    with pytest.raises(LabelStudioError, match="has the controls polygon, label;"):
        check_labels(4, changed, CLASSES, drawn="outlines")
    for control in ("polygon", "brush", "label"):
        start = outlined.index(f'name="{control}"')
        renamed = outlined[:start] + outlined[start:].replace('value="two"', 'value="three"', 1)
        with pytest.raises(
            LabelStudioError,
            match=rf"(?s)control '{control}' has one, three; .*missing there: two; unknown here: three",
        ):
            check_labels(4, renamed, CLASSES, drawn="outlines")
    with pytest.raises(LabelStudioError, match=r"config was replaced.*segmentation_config\.xml"):
        check_labels(4, "<View/>", CLASSES, drawn="outlines")


def test_a_box_of_extreme_points_is_the_box_around_them() -> None:
    """In any order, also if the shape crosses itself or is open; outside the image they are clipped."""
    points = [[50, 10], [20, 40], [50, 90], [80, 30]]
    crossed = [points[0], points[2], points[1], points[3]]
    for corners in (points, crossed):
        found = from_result([polygon(corners)], ImageSize(200, 100), CLASSES, "extreme-points")
        np.testing.assert_allclose(found.xyxy, [[40, 10, 160, 90]])
        assert found.outlines is None
    beyond = from_result([polygon([[-10, 50], [50, 110]])], ImageSize(200, 100), CLASSES, "extreme-points")
    np.testing.assert_allclose(beyond.xyxy, [[0, 50, 100, 100]])
    for few in ([], [[5, 5]], [[5, 5], [5, 9]]):
        with pytest.raises(RefusedResultError, match=r"without a point|no area"):
            from_result([polygon(few)], ImageSize(200, 100), CLASSES, "extreme-points")
    with pytest.raises(RefusedResultError, match="expected rectangles and extreme points, got"):
        from_result([painted(block())], SIZE, CLASSES, "extreme-points")


def test_a_project_for_extreme_points_has_two_tools() -> None:
    config = labelling_config(CLASSES, "extreme-points")
    assert list(read_labels(config)) == ["polygon", "label"]
    check_labels(4, config, CLASSES, "extreme-points")
    with pytest.raises(
        LabelStudioError, match=r'(?s)"extreme-points", which needs label, polygon\..*new-proj'
    ):
        check_labels(4, labelling_config(CLASSES), CLASSES, "extreme-points")
