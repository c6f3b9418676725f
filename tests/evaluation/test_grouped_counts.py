"""Counts by class and by words about the boxes, by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from al_loop.evaluation.detection_counts import count
from al_loop.evaluation.grouped_counts import count_groups, group_names
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage

WELL, POORLY = {"legibility": "well"}, {"legibility": "poorly"}


@pytest.fixture
def truth(make_boxes: Callable[..., Boxes]) -> list[LabelledImage]:
    """Three digits side by side; one alone, in an image with an ignore region."""
    line = make_boxes((0, 0, 10, 10, 0), (10, 0, 20, 10, 1), (20, 0, 30, 10, 0))
    alone, region = make_boxes((0, 0, 10, 10, 1)), make_boxes((50, 50, 70, 70, 0))
    return [
        LabelledImage(ImageFile("a", Path("a"), 99, 99), line),
        LabelledImage(ImageFile("b", Path("b"), 99, 99), alone, region),
    ]


def test_every_box_counts_in_its_groups(truth: list[LabelledImage], make_boxes: Callable[..., Boxes]) -> None:
    words = [[WELL, POORLY, WELL], [POORLY]]
    predicted = {
        "a": make_boxes((0, 0, 10, 10, 0, 0.9), (10, 0, 20, 10, 0, 0.9), (40, 40, 45, 45, 0, 0.9)),
        "b": make_boxes((0, 0, 10, 10, 1, 0.9), (51, 51, 60, 60, 0, 0.9)),
    }
    groups = count_groups(truth, predicted, group_names(truth, words, ("one", "two")))
    found = {name: (c.right, c.misclassified, c.missed, c.recall) for name, c in groups.items()}
    assert found == {
        "class: one": (1, 0, 1, 0.5),
        "class: two": (1, 1, 0, 0.5),
        "legibility: poorly": (1, 1, 0, 0.5),
        "legibility: well": (1, 0, 1, 0.5),
    }
    total = count(truth, predicted)
    for kind in ("class", "legibility"):
        parts = [each for name, each in groups.items() if name.startswith(kind)]
        assert sum(each.right for each in parts) == total.right == 2
        assert sum(each.missed for each in parts) == total.missed == 1
        assert {each.false for each in parts} == {total.false} == {1}


def test_words_that_divide_nothing_are_no_groups(truth: list[LabelledImage]) -> None:
    same = [[{"occluded": "False", "serial": f"{n}"} for n in range(3)], [{"occluded": "False"}]]
    names = group_names(truth, same, ("one", "two"))
    assert {name for image in names for box in image for name in box} == {
        *("class: one", "class: two"),
        *("serial: 0", "serial: 1", "serial: 2"),
    }
    assert names[1] == [{"class: two"}]
    many = [truth[0]] * 7
    serials = [[{"serial": f"{image} {n}"} for n in range(3)] for image in range(7)]
    assert {*names[0][0]} - {*group_names(many, serials, ("one", "two"))[0][0]} == {"serial: 0"}


def test_images_without_words_have_classes(truth: list[LabelledImage]) -> None:
    names = group_names(truth, [(), ()], ("one", "two"))
    assert names == [[{"class: one"}, {"class: two"}, {"class: one"}], [{"class: two"}]]
