"""Outlines of COCO files as labels: what is kept, clipped, converted and left out, and what is said."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.coco_files import coco, written
from support.factories import CLASSES

from al_loop.images.coco import CocoSet, read_coco
from al_loop.images.outlines import MAX_CORNERS, same_outline
from al_loop.structures import segmentation
from al_loop.structures.boxes import Outline

SIZE = (96, 64)
#: The box of the first annotation: (10, 10) to (32, 22).
SQUARE = [[10, 10, 32, 10, 32, 22, 10, 22]]


def read_with(tmp_path: Path, outline: object, **more: object) -> CocoSet:
    """Read two photographs whose first annotation has this segmentation."""
    data = coco()
    data["annotations"][0] |= {"segmentation": outline, **more}
    data["annotations"][1]["segmentation"] = [[60, 20, 72, 20, 72, 42]]
    return read_coco(written(tmp_path, data), CLASSES, masks=True)


def kept(found: CocoSet) -> Outline | None:
    """Return the outline of the first annotation; the second always has one."""
    first, second = found.images
    assert len(first.boxes) == len(second.boxes) == 2
    assert first.boxes.outlines is not None
    assert first.boxes.outlines[1] == [[60.0, 20.0, 72.0, 20.0, 72.0, 42.0]]
    assert second.boxes.outlines is None
    return first.boxes.outlines[0]


def circle(corners: int) -> list[float]:
    angles = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    return np.c_[21 + 11 * np.cos(angles), 16 + 6 * np.sin(angles)].ravel().tolist()


def test_outlines_are_kept_as_they_are(tmp_path: Path) -> None:
    found = read_with(tmp_path, SQUARE)
    assert found.problems == []
    assert kept(found) == [[float(value) for value in SQUARE[0]]]
    parts = [[10.0, 10, 20, 10, 20, 22, 10, 22], [25.0, 10, 32, 10, 32, 22]]
    assert kept(read_with(tmp_path, parts)) == parts
    assert kept(read_with(tmp_path, None)) is None


def test_run_lengths_are_kept_compressed(tmp_path: Path) -> None:
    pixels = np.zeros((64, 96), np.bool_)
    pixels[10:22, 10:32] = True
    pixels[14:18, 15:20] = False
    mask: Any = segmentation.mask(pixels)
    assert kept(read_with(tmp_path, mask)) == mask
    runs = np.flatnonzero(np.diff(np.r_[0, pixels.T.ravel(), 0])).tolist()
    counts = np.diff([0, *runs, pixels.size]).tolist()
    assert kept(read_with(tmp_path, {"size": [64, 96], "counts": counts})) == mask


LEFT_OUT = "its segmentation is left out, its box kept: "


@pytest.mark.parametrize(
    ("outline", "says"),
    [
        ([[10, 10, 32, 22]], "a polygon is a list of x, y, x, y, ... of three corners or more"),
        ([[10, 10, 21, 16, 32, 22]], "it covers no pixel"),
        ([[10.1, 10.1, 10.2, 10.1, 10.2, 10.2]], "it covers no pixel"),
        ([[*SQUARE[0], *SQUARE[0]]], "it covers no pixel"),  # twice around
        ([[110, 10, 132, 10, 132, 22]], "its polygon lies outside the … image"),
        ([[1e9, 10, 32, 10, 32, 22]], "its polygon has corners far outside the … image"),
        ([[60, 30, 80, 30, 80, 50, 60, 50]], "the box around it is …, not …"),
        ([[0, 0, 96, 0, 96, 64, 0, 64]], "the box around it is …, not …"),
        ({"size": [96, 64], "counts": "PPYo1"}, "run lengths need the size … of the image, got …"),
        ({"size": [64, 96], "counts": [6144]}, "it covers no pixel"),
        ({"size": [64, 96], "counts": "PP6"}, "it covers no pixel"),
        ({"size": [64, 96], "counts": "zz"}, "expected compressed run lengths, got the letter 'z'"),
        ([list(np.tile([10.0, 10, 32, 22], 30_000))], "its polygon is … px long, more than 1000000"),
    ],
)  # fmt: skip
def test_an_outline_that_cannot_be_used_leaves_its_box(tmp_path: Path, outline: object, says: str) -> None:
    found = read_with(tmp_path, outline)
    assert kept(found) is None
    assert [problem.kind for problem in found.problems] == [LEFT_OUT + says]
    assert "of a.png: " in found.problems[0]


def test_a_polygon_is_clipped_at_the_edge_of_its_image(tmp_path: Path) -> None:
    outside = [[80, 50, 106, 50, 106, 74, 80, 74]]
    found = read_with(tmp_path, outside, bbox=[80, 50, 16, 14])
    assert found.problems == [
        "annotation number 1 of a.png: its polygon sticks out of the 96x64 image: clipped"
    ]
    outline = kept(found)
    assert isinstance(outline, list)
    assert {tuple(point) for point in np.reshape(outline[0], (-1, 2)).tolist()} == {
        (80.0, 50.0), (96.0, 50.0), (96.0, 64.0), (80.0, 64.0),
    }  # fmt: skip
    # Less than a pixel is rounding.
    near = read_with(tmp_path, [[80, 50, 96.5, 50, 96.5, 64, 80, 64]], bbox=[80, 50, 16, 14])
    assert near.problems == []
    assert segmentation.hull(kept(near) or []).tolist() == [80, 50, 96, 64]


@pytest.mark.parametrize(
    ("ring", "crosses"),
    [
        ([10, 10, 32, 22, 32, 10, 10, 22], True),  # a bow tie, whose lobes cancel each other
        # A loop around a corner, inside the polygon: it is cut out.
        ([10, 10, 32, 10, 32, 22, 20, 22, 20, 14, 26, 14, 26, 24, 10, 24], True),
        # A hole, joined to the outline by a slit.
        ([10, 10, 32, 10, 32, 22, 10, 22, 10, 10, 15, 13, 15, 18, 25, 18, 25, 13, 15, 13], False),
        ([10, 10, 32, 10, 32, 22, 31.9, 22.1, 32.1, 21.9, 10, 22], False),  # a loop of less than a pixel
    ],
)
def test_a_polygon_that_crosses_itself_is_filled_as_by_pycocotools(
    tmp_path: Path, ring: list[float], crosses: bool
) -> None:
    found = read_with(tmp_path, [ring])
    assert kept(found) == [[float(value) for value in ring]]
    assert ["crosses itself" in problem for problem in found.problems] == [True] * crosses


def test_many_corners_become_the_mask_of_the_same_pixels(tmp_path: Path) -> None:
    ring = circle(10_000)
    found = read_with(tmp_path, [ring])
    assert found.problems == [
        "annotation number 1 of a.png: its polygon has 10000 corners: stored as the mask of its pixels"
    ]
    outline = kept(found)
    assert isinstance(outline, dict)
    assert len(outline["counts"]) < 200
    np.testing.assert_array_equal(segmentation.pixels(outline, *SIZE), segmentation.pixels([ring], *SIZE))
    assert isinstance(kept(read_with(tmp_path, [circle(MAX_CORNERS)])), list)


def test_an_outline_without_its_box_gives_the_box(tmp_path: Path) -> None:
    data = coco()
    mask = np.zeros((64, 96), np.bool_)
    mask[20:42, 60:72] = True
    outlines = [SQUARE, segmentation.mask(mask), [[110, 10, 132, 10, 132, 22]], [[1, 2]]]
    for annotation, outline in zip(data["annotations"], outlines, strict=True):
        del annotation["bbox"]
        annotation["segmentation"] = outline
    found = read_coco(written(tmp_path, data), CLASSES, masks=True)
    (image,) = found.images
    assert image.boxes.xyxy.tolist() == [[10, 10, 32, 22], [60, 20, 72, 42]]
    assert image.boxes.outlined.all()
    assert [str(problem).partition(": ")[2] for problem in found.problems] == [
        "has no bbox: the box around its segmentation is taken",
        "has no bbox: the box around its segmentation is taken",
        "box [110, 10, 22, 12] lies outside the 96x64 image",
        "has no bbox, and its segmentation cannot be used: a polygon is a list of x, y, x, y, ... of three "
        "corners or more",
        "none of its annotations can be used: left out",
    ]
    data["annotations"] = [{**data["annotations"][1], "segmentation": {"size": [64, 96], "counts": [6144]}}]
    (problem, *_) = read_coco(written(tmp_path, data), CLASSES).problems
    assert problem.endswith("has no bbox, and its segmentation cannot be used: its mask has no pixel")


def test_a_box_is_that_of_the_file_if_its_mask_fits(tmp_path: Path) -> None:
    """Tools round boxes, and some draw them around hidden parts, too."""
    for box in ([9, 9, 25, 14], [10, 10, 40, 12]):
        found = read_with(tmp_path, SQUARE, bbox=box)
        assert found.problems == []
        x, y, w, h = box
        assert found.images[0].boxes.xyxy[0].tolist() == [x, y, x + w, y + h]
        assert found.images[0].boxes.outlined.all()
    thin = read_with(tmp_path, [[10, 10, 32, 10, 32, 10.6, 10, 10.6]], bbox=[10, 10, 22, 0.3])
    assert thin.problems == []


def test_a_crowd_is_the_region_of_its_box(tmp_path: Path) -> None:
    crowd = {"size": [64, 96], "counts": [0, 6144]}
    found = read_with(tmp_path, crowd, iscrowd=1, bbox=[0, 0, 96, 64])
    assert found.problems == []
    first = found.images[0]
    assert first.ignored.xyxy.tolist() == [[0, 0, 96, 64]]
    assert first.ignored.outlines is None
    assert first.boxes.outlined.tolist() == [True]


def test_outlines_of_other_classes_are_not_examined(tmp_path: Path) -> None:
    data = coco()
    data["categories"].append({"id": 3, "name": "washer"})
    data["annotations"][0] |= {"category_id": 3, "segmentation": [[110, 10, 132, 10, 132, 22]]}
    data["annotations"][1]["segmentation"] = [[60, 20, 72, 20, 72, 42]]
    found = read_coco(written(tmp_path, data), CLASSES, masks=True)
    assert found.images[0].boxes.outlined.tolist() == [True]
    assert [problem for problem in found.problems if "washer" not in problem] == []


def test_outlines_are_compared_within_rounding() -> None:
    square: Outline = [[0.0, 0, 9, 0, 9, 9]]
    mask = segmentation.mask(np.ones((4, 4), np.bool_))
    assert same_outline(square, [[0.01, 0, 9, 0, 9, 9]], 0.05)
    assert not same_outline(square, [[0.1, 0, 9, 0, 9, 9]], 0.05)
    assert not same_outline(square, [[0.0, 0, 9, 0, 9, 9, 0, 9]], 0.05)
    assert not same_outline(square, [*square, [0.0, 0, 9, 0, 9, 9]], 0.05)
    assert same_outline(None, None, 0.05)
    assert same_outline(mask, dict(mask), 0.05)
    assert not same_outline(mask, square, 0.05)
    assert not same_outline(None, square, 0.05)
