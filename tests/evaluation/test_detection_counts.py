"""Boxes right, misclassified, missed and false, by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from al_loop.evaluation.detection_counts import COUNT_RULES, all_right, count, count_r2
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import ImageFile, LabelledImage


def item(name: str, boxes: Boxes) -> LabelledImage:
    return LabelledImage(ImageFile(name, Path(name), 100, 100), boxes)


def test_each_box_has_one_of_four_kinds(make_boxes: Callable[..., Boxes]) -> None:
    truth = [
        item("a", make_boxes((0, 0, 10, 10, 0), (20, 0, 30, 10, 1), (40, 0, 50, 10, 1))),
        item("b", make_boxes((0, 0, 10, 10, 0))),
        item("empty", Boxes()),
        item("unseen", make_boxes((0, 0, 10, 10, 1))),
    ]
    predicted = {
        # Correct, of another class, of a low score, and false.
        "a": make_boxes(
            (1, 0, 10, 10, 0, 0.9), (20, 0, 30, 9, 0, 0.8), (40, 0, 50, 10, 1, 0.4), (70, 70, 80, 80, 1, 0.6)
        ),
        "b": make_boxes((0, 0, 10, 10, 0, 0.99)),
        "empty": Boxes(),
    }
    counts = count(truth, predicted)
    assert (counts.right, counts.misclassified, counts.missed, counts.false) == (2, 1, 2, 1)
    assert counts.images_right == 0.5
    assert counts.precision == pytest.approx(2 / 4)
    assert counts.recall == pytest.approx(2 / 5)


def test_of_two_predictions_of_one_object_one_is_false(make_boxes: Callable[..., Boxes]) -> None:
    truth = [item("a", make_boxes((0, 0, 10, 10, 0)))]
    counts = count(truth, {"a": make_boxes((0, 0, 10, 10, 0, 0.9), (0, 0, 10, 9, 0, 0.8))})
    assert (counts.right, counts.false, counts.images_right) == (1, 1, 0.0)


def test_the_highest_score_is_matched_first(make_boxes: Callable[..., Boxes]) -> None:
    truth = [item("a", make_boxes((0, 0, 10, 10, 0), (0, 0, 10, 8, 1)))]
    # The first takes the box that it overlaps most, of another class; the second takes the other.
    counts = count(truth, {"a": make_boxes((0, 0, 10, 10, 1, 0.9), (0, 0, 10, 8, 0, 0.8))})
    assert (counts.right, counts.misclassified) == (0, 2)


def test_nothing_at_all() -> None:
    counts = count([], {})
    assert (counts.precision, counts.recall, counts.images_right) == (0.0, 0.0, 0.0)


def test_the_count_r2_of_a_model(make_boxes: Callable[..., Boxes]) -> None:
    """One, two and four true boxes; the correlation of 2, 4, 8 with them is 1, whatever the scale."""
    box = (0, 0, 10, 10, 0)
    truth = [item(name, make_boxes(*[box] * n)) for name, n in (("a", 1), ("b", 2), ("c", 4))]

    def predicted(*sums: float) -> dict[str, Boxes]:
        return {name: make_boxes((*box, s / 2), (*box, s / 2)) for name, s in zip("abc", sums, strict=False)}

    assert count_r2(truth, predicted(0.2, 0.4, 0.8)) == pytest.approx(1.0)
    assert count_r2(truth, predicted(0.8, 0.4, 0.2)) == 0.0
    assert count_r2(truth, predicted(0.4, 0.4, 0.4)) == 0.0
    # Deviations of the truth −4/3, −1/3, 5/3, of the sums −0.2, 0.1, 0.1: r² = (0.4)² / (42/9 · 0.06).
    assert count_r2(truth, predicted(0.2, 0.5, 0.5)) == pytest.approx(0.16 / 0.28)
    # Undefined: fewer than three images, or as many boxes in each.
    assert count_r2(truth, predicted(0.2, 0.4)) is None
    assert count_r2([item(n, make_boxes(box)) for n in "abc"], predicted(0.2, 0.4, 0.8)) is None


def test_boxes_in_ignore_regions_are_neither_right_nor_false(make_boxes: Callable[..., Boxes]) -> None:
    image = ImageFile("a", Path("a"), 100, 100)
    region = make_boxes((50, 0, 100, 50, 0))
    truth = [LabelledImage(image, make_boxes((0, 0, 10, 10, 0), (60, 0, 70, 10, 1)), region)]
    predicted = make_boxes(
        (0, 0, 10, 10, 0, 0.9),  # right
        (60, 0, 70, 10, 1, 0.9),  # right, though it lies in the region
        (80, 20, 90, 30, 0, 0.9),  # in the region
        (46, 20, 54, 30, 0, 0.9),  # half of it in the region
        (44, 20, 54, 30, 0, 0.9),  # less than half of it: false
    )
    counts = count(truth, {"a": predicted})
    assert (counts.right, counts.misclassified, counts.missed, counts.false) == (2, 0, 0, 1)
    assert not all_right(truth[0], predicted)
    assert all_right(
        truth[0], make_boxes((0, 0, 10, 10, 0, 0.9), (60, 0, 70, 10, 1, 0.9), (80, 20, 90, 30, 0, 0.9))
    )


def test_boxes_in_ignore_regions_do_not_count(make_boxes: Callable[..., Boxes]) -> None:
    """1, 2 and 3 objects, each found with score 1; five more detections in the region of the first image."""
    rows = [(0.0, 20.0 * n, 10.0, 20.0 * n + 10, 0) for n in range(3)]
    region = make_boxes((50, 0, 100, 100, 0))
    images = [ImageFile(str(n), Path("x"), 100, 100) for n in range(3)]
    truth = [LabelledImage(i, make_boxes(*rows[: n + 1]), region) for n, i in enumerate(images)]
    predicted = {str(n): make_boxes(*((*row, 1.0) for row in rows[: n + 1])) for n in range(3)}
    crowd = [(60.0, 10.0 * n, 70.0, 10.0 * n + 9, 0, 1.0) for n in range(5)]
    predicted["0"] = make_boxes((*rows[0], 1.0), *crowd)
    assert count_r2(truth, predicted) == pytest.approx(1.0)
    # As objects they are 6, 2 and 3, while the truth is 1, 2 and 3.
    assert count_r2([replace(t, ignored=Boxes()) for t in truth], predicted) == 0.0


def by_rule(rule: str, truth: list[LabelledImage], predicted: dict[str, Boxes]) -> tuple[int, ...]:
    counts = count(truth, predicted, rule)
    return counts.right, counts.misclassified, counts.missed, counts.false


def test_any_intersection_counts_after_cordier(make_boxes: Callable[..., Boxes]) -> None:
    """A large prediction finds two cracks, three small ones find one; corners that touch do not intersect."""
    truth = [
        item("large", make_boxes((0, 0, 10, 10, 0), (40, 40, 50, 50, 0), (80, 80, 90, 90, 0))),
        item("parts", make_boxes((0, 0, 60, 5, 0))),
        item("class", make_boxes((0, 0, 10, 10, 0), (30, 30, 40, 40, 1))),
        item("empty", Boxes()),
    ]
    predicted = {
        "large": make_boxes((5, 5, 45, 45, 0, 0.9)),
        "parts": make_boxes((0, 4, 10, 9, 0, 0.9), (20, 4, 30, 9, 0, 0.8), (50, 4, 70, 9, 0, 0.7)),
        # One is found with both classes, the other with a wrong one only; the third only touches a corner.
        "class": make_boxes(
            (0, 0, 5, 5, 1, 0.9), (5, 5, 9, 9, 0, 0.6), (31, 31, 33, 33, 0, 0.9), (10, 10, 20, 20, 0, 0.9)
        ),
        "empty": make_boxes((0, 0, 9, 9, 0, 0.9), (0, 0, 9, 9, 0, 0.4)),
    }
    assert by_rule("cordier", truth[:1], predicted) == (2, 0, 1, 0)
    assert by_rule("cordier", truth[1:2], predicted) == (1, 0, 0, 0)
    assert by_rule("cordier", truth[2:3], predicted) == (1, 1, 0, 1)
    assert by_rule("cordier", truth[3:], predicted) == (0, 0, 0, 1)
    counts = count(truth, predicted, "cordier")
    assert (counts.right, counts.misclassified, counts.missed, counts.false) == (4, 1, 1, 2)
    assert (counts.precision, counts.recall, counts.images_right) == (4 / 7, 4 / 6, 1 / 4)
    # At an IoU of 0.5 none of them is found.
    assert by_rule("iou", truth, predicted) == (0, 0, 6, 9)


def test_missed_boxes_include_misclassified_ones_after_faltings(make_boxes: Callable[..., Boxes]) -> None:
    truth = [item("a", make_boxes((0, 0, 10, 10, 0), (20, 0, 30, 10, 1), (40, 0, 50, 10, 1)))]
    predicted = {
        "a": make_boxes((0, 0, 10, 10, 0, 0.9), (20, 0, 30, 10, 0, 0.8), (70, 70, 80, 80, 1, 0.6)),
    }
    assert by_rule("iou", truth, predicted) == (1, 1, 1, 1)
    assert by_rule("faltings", truth, predicted) == (1, 1, 2, 1)
    ours, theirs = count(truth, predicted), count(truth, predicted, "faltings")
    assert (theirs.truth, theirs.recall, theirs.precision) == (3, ours.recall, ours.precision)
    assert ours.recall == pytest.approx(1 / 3)


def test_ignore_regions_apply_to_every_rule(make_boxes: Callable[..., Boxes]) -> None:
    image = ImageFile("a", Path("a"), 100, 100)
    truth = [LabelledImage(image, make_boxes((0, 0, 10, 10, 0)), make_boxes((50, 0, 100, 50, 0)))]
    predicted = {"a": make_boxes((0, 0, 10, 10, 0, 0.9), (80, 20, 90, 30, 0, 0.9))}
    for rule in COUNT_RULES:
        assert by_rule(rule, truth, predicted) == (1, 0, 0, 0)
    # What intersects a true box counts, although it lies in the region, if any intersection is a match.
    reaching = [replace(truth[0], boxes=make_boxes((45, 0, 52, 10, 0)))]
    over = {"a": make_boxes((51, 0, 70, 10, 0, 0.9))}
    assert [by_rule(rule, reaching, over) for rule in COUNT_RULES] == [
        (0, 0, 1, 0),
        (1, 0, 0, 0),
        (0, 0, 1, 0),
    ]
