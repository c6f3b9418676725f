"""The model's outlines as regions that people edit, and what comes back of them."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from al_loop.cli.simulated_annotator import correct
from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.task import Edits, OutgoingTask
from al_loop.labelling.tasks.convert import from_result, new_region, to_prediction
from al_loop.labelling.tasks.edits import count_edits
from al_loop.labelling.tasks.outlines import Form, brush_value, crossing_note, polygon_value
from al_loop.labelling.tasks.regions import BRUSH, POLYGON, RECTANGLE, ImageSize, RefusedResultError
from al_loop.structures import segmentation
from al_loop.structures.boxes import Boxes, Outline

CLASSES = ["one", "two"]
SIZE = ImageSize(200, 120)
Y, X = np.mgrid[: SIZE.height, : SIZE.width]
DISC = np.hypot(X - 60, Y - 60) < 40
TRIANGLE: Outline = [[20.0, 10.0, 100.0, 10.0, 100.0, 60.0]]


def disc_without(hole: float) -> np.ndarray:
    """The disc with a hole in its middle that has this share of its area."""
    return DISC & (np.hypot(X - 60, Y - 60) >= 40 * hole**0.5)


def disc_and(share: float) -> np.ndarray:
    """The disc and another one beside it, of this share of its area."""
    return DISC | (np.hypot(X - 140, Y - 60) < 40 * share**0.5)


def outgoing(*outlines: Outline | None) -> OutgoingTask:
    count = len(outlines)
    corners = np.array([[20.0, 20.0, 100.0, 100.0]] * count)
    boxes = Boxes(corners, np.zeros(count, np.int64), np.full(count, 0.9), outlines)
    return OutgoingTask("k", "0" * 64, Path("a.jpg"), "a.jpg", SIZE.width, SIZE.height, boxes, 0.5, 0, "why")


def shown(*outlines: Outline | None, form: Form | None = "auto") -> list[dict[str, Any]]:
    return list(to_prediction(outgoing(*outlines), CLASSES, "m", form)["result"])


def polygon(*points: tuple[float, float]) -> dict[str, Any]:
    """A region with these corners, px."""
    return new_region("p", POLYGON, polygon_value(np.array(points), SIZE), "one", SIZE)


def pulled(*regions: dict[str, Any], size: ImageSize = SIZE) -> tuple[Outline | None, ...]:
    found = from_result(list(regions), size, CLASSES, drawn="outlines")
    assert found.outlines is not None
    return found.outlines


@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        (DISC, POLYGON),
        (disc_without(0.03), POLYGON),  # a hole, or another part, that does not matter
        (disc_and(0.03), POLYGON),
        (disc_without(0.2), BRUSH),
        (disc_and(0.2), BRUSH),
        (X == Y, BRUSH),  # a crack of one pixel has no edge that a polygon could follow
    ],
)
def test_a_mask_is_a_polygon_unless_it_has_holes_or_parts_that_matter(pixels: np.ndarray, kind: str) -> None:
    (made,) = shown(segmentation.mask(pixels))
    assert (made["type"], made["from_name"]) == (kind, kind.removesuffix("labels"))
    assert made["value"][kind] == ["one"]
    (back,) = pulled(made)
    assert back is not None
    if kind == POLYGON:
        assert len(made["value"]["points"]) <= 40
        assert segmentation.mask_iou(back, segmentation.mask(pixels)) >= 0.9
    else:
        np.testing.assert_array_equal(coco.decode(back), pixels)


def test_the_form_can_be_chosen() -> None:
    disc, ring = segmentation.mask(DISC), segmentation.mask(disc_without(0.2))
    assert [one["type"] for one in shown(disc, ring, form="polygon")] == [POLYGON, POLYGON]
    assert [one["type"] for one in shown(disc, ring, form="brush")] == [BRUSH, BRUSH]
    assert [one["type"] for one in shown(disc, ring, form=None)] == [RECTANGLE, RECTANGLE]


def test_each_box_is_one_region_and_without_pixels_a_rectangle() -> None:
    nothing = segmentation.mask(np.zeros_like(DISC))
    made = shown(segmentation.mask(DISC), None, nothing, TRIANGLE)
    assert [one["type"] for one in made] == [POLYGON, RECTANGLE, RECTANGLE, POLYGON]
    assert len({one["id"] for one in made}) == 4
    assert all(one["score"] == 0.9 for one in made)
    back = from_result(made, SIZE, CLASSES, drawn="outlines")
    assert len(back) == 4
    assert back.outlines is not None
    assert [outline is None for outline in back.outlines] == [False, True, True, False]
    assert count_edits(made, made, SIZE) == Edits(kept=4)


def test_a_polygon_of_few_points_is_sent_as_it_is() -> None:
    (made,) = shown(TRIANGLE)
    np.testing.assert_allclose(pulled(made)[0], TRIANGLE, rtol=0, atol=1e-9)
    (outside,) = shown([[20.0, 10.0, 250.0, 10.0, 250.0, 60.0]])
    assert np.max(outside["value"]["points"]) <= 100
    angles = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    many = 60 + 40 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    (fewer,) = shown(segmentation.polygon(many))
    assert len(fewer["value"]["points"]) <= 40


def test_a_mask_of_another_image_is_not_sent() -> None:
    with pytest.raises(LabelStudioError, match=r"not of the image's size: .*120 x 200 pixels"):
        shown(segmentation.mask(DISC.T))


@pytest.mark.integration
@given(arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))), st.integers(0, 300))
def test_painted_pixels_come_back_as_they_are(pixels: np.ndarray, wider: int) -> None:
    """Also with runs of more than 65,536 numbers, which are packed as several."""
    pixels[0, 0] = True
    pixels = np.pad(pixels, ((0, wider), (0, wider)))
    size = ImageSize(pixels.shape[1], pixels.shape[0])
    (back,) = pulled(new_region("b", BRUSH, brush_value(pixels), "one", size), size=size)
    np.testing.assert_array_equal(coco.decode(back), pixels)


def test_a_polygon_that_crosses_itself_is_kept_as_a_mask() -> None:
    bow_tie = polygon((20, 20), (100, 100), (100, 20), (20, 100))
    (back,) = pulled(bow_tie)
    assert isinstance(back, dict)
    assert segmentation.area(back) == pytest.approx(80 * 80 / 2, rel=0.02)
    covered = coco.decode(back)
    assert covered[60, 30]
    assert covered[60, 90]
    assert not covered[30, 60]
    assert not covered[90, 60]
    angles = np.pi / 2 + np.arange(5) * 4 * np.pi / 5
    star = polygon(*zip(100 + 50 * np.cos(angles), 60 - 50 * np.sin(angles), strict=True))
    assert not coco.decode(pulled(star)[0])[60, 100]  # its middle is enclosed twice
    assert crossing_note([bow_tie]) == (
        "a polygon crosses itself: kept as a mask, without what two of its loops enclose"
    )
    others = [polygon((1, 1), (9, 1), (9, 9)), *shown(segmentation.mask(disc_without(0.2)), None)]
    assert "2 polygons cross themselves" in str(crossing_note([star, bow_tie, *others]))
    assert crossing_note(others) is None


def test_what_crosses_itself_outside_the_image_is_cut_off() -> None:
    (back,) = pulled(polygon((20, 20), (260, 100), (260, 20), (20, 100)))
    assert isinstance(back, dict)
    assert segmentation.hull(back)[2] == 200


@pytest.mark.integration
def test_a_polygon_of_ten_thousand_points_is_read_at_once() -> None:
    """As a script may write it: a rough edge, and one that crosses itself over and over."""
    size = ImageSize(4000, 3000)
    angles = np.linspace(0, 2 * np.pi, 10_000, endpoint=False)
    radius = 1000 + 3 * np.sin(700 * angles)
    rough = np.stack([2000 + radius * np.cos(angles), 1500 + radius * np.sin(angles)], axis=1)
    noise = np.random.default_rng(0).normal(0, 20, rough.shape)
    began = time.process_time()
    values = [polygon_value(points, size) for points in (rough, rough + noise)]
    edge, tangle = (new_region("p", POLYGON, value, "one", size) for value in values)
    plain, crossed = pulled(edge, tangle, size=size)
    assert count_edits([edge], [edge], size) == Edits(kept=1)
    assert time.process_time() - began < 2
    assert isinstance(plain, list)
    np.testing.assert_allclose(np.reshape(plain, (-1, 2)), rough, rtol=0, atol=1e-6)
    assert isinstance(crossed, dict)
    assert segmentation.mask_iou(plain, crossed) > 0.9
    endless = new_region("p", POLYGON, polygon_value(1000 * noise, size), "one", size)
    with pytest.raises(RefusedResultError, match=r"px long, expected at most 2000000: draw it again"):
        pulled(endless, size=size)


def test_what_an_eraser_leaves_at_its_soft_edge_is_nothing() -> None:
    from label_studio_sdk.converter.brush import mask2rle

    value = {"format": "rle", "rle": mask2rle(np.where(DISC, 20, 0).astype(np.uint8))}
    with pytest.raises(RefusedResultError, match="nothing is left of a brush region: delete it and submit"):
        pulled(new_region("b", BRUSH, value, "one", SIZE))


def test_each_bad_region_is_named_by_one_sentence() -> None:
    """In a list of answers, every other task is still read: see test_outlines_on_the_real_server."""
    with pytest.raises(RefusedResultError) as caught:
        pulled(*shown(segmentation.mask(DISC)), polygon((1, 1), (2, 2)), polygon((1, 1), (2, 2), (3, 3)))
    assert str(caught.value) == "a polygon has 2 points, expected 3 or more: draw it again and submit"


def test_the_annotator_draws_outlines_where_the_truth_has_them() -> None:
    ring = segmentation.mask(disc_without(0.2))
    truth = replace(outgoing(ring, TRIANGLE, None).boxes, scores=None)
    truth = replace(truth, xyxy=np.array([[20.0, 20, 100, 100], [20, 10, 100, 60], [150, 20, 180, 50]]))
    proposed = shown(segmentation.mask(disc_without(0.3)))
    left = correct(proposed, truth, SIZE, CLASSES)
    assert [one["type"] for one in left] == [BRUSH, POLYGON, RECTANGLE]
    assert [one["origin"] for one in left] == ["prediction-changed", "manual", "manual"]
    back = from_result(left, SIZE, CLASSES, drawn="outlines")
    assert back.outlines is not None
    np.testing.assert_array_equal(coco.decode(back.outlines[0]), disc_without(0.2))
    np.testing.assert_allclose(back.outlines[1], TRIANGLE, rtol=0, atol=1e-9)
    assert back.outlines[2] is None
