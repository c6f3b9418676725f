"""The doctor: labels and sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.doctor_workspace import Damage, Made, assert_mended, found, replace, sql

from al_loop.core.config import FILE_NAME


def _labels(boxes: str, status: str = "labelled") -> Callable[[Path], object]:
    return lambda w: sql(
        w,
        f"UPDATE labels SET boxes = '{boxes}', status = '{status}' WHERE cycle = 1 AND image_id = "
        "(SELECT min(image_id) FROM labels WHERE cycle = 1)",
    )


MENDED: dict[str, Damage] = {
    "a box outside": (_labels("[[1, 2, 70, 9, 0]]"), "labels.outside", "outside the image of 64x64"),
    "a box without area": (_labels("[[9, 2, 9, 9, 0]]"), "labels.empty-box", "no area"),
    "a class that there is not": (
        _labels("[[1, 2, 9, 9, 7]]"),
        "labels.class", "is of class 7, there are 0 to 1",
    ),
    "boxes that are none": (_labels("[[1, 2"), "labels.unreadable", "cannot be read as boxes"),
    "a box of four numbers": (_labels("[[1, 2, 9, 9]]"), "labels.unreadable", "cannot be read as boxes"),
    "not a number": (_labels("[[1, NaN, 9, 9, 0]]"), "labels.unreadable", "not finite"),
    "labelled without boxes": (_labels("[]"), "labels.status", "'labelled' with 0 boxes"),
    "empty with boxes": (_labels("[[1, 2, 9, 9, 0]]", "empty"), "labels.status", "'empty' with 1 boxes"),
    "outlines of another number": (
        lambda w: sql(w, "UPDATE labels SET outlines = '[null, null]' WHERE image_id = "
                         "(SELECT min(image_id) FROM labels WHERE cycle = 1)"),
        "labels.outlines", "one for each of 1 boxes",
    ),
    "no label to judge by": (
        lambda w: sql(w, "DELETE FROM labels WHERE image_id = (SELECT min(image_id) FROM sets)"),
        "sets.unlabelled", "no labels",
    ),
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("name", MENDED)
def test_the_printed_command_repairs_it(well: Path, made: Made, run: Any, name: str) -> None:
    assert_mended(well, made, run, MENDED[name])


def test_outlines_that_cannot_be_used_are_said(well: Path) -> None:
    first = "(SELECT min(image_id) FROM labels WHERE cycle = 1)"
    update = f"UPDATE labels SET outlines = '{{}}' WHERE image_id = {first}"
    sql(well, update.format("[[[1, 2, 9, 2, 9, 9]]]"))
    assert found(well) == []
    sql(well, update.format("[[[40, 40, 60, 40, 60, 60, 40, 60]]]"))
    assert found(well) == []  # a workspace for boxes does not use it
    replace(well / FILE_NAME, 'task = "detection"', 'task = "segmentation"')
    (finding,) = found(well)
    assert finding.check == "labels.outlines"
    assert finding.problem == (
        "outline 1 cannot be used: the box around it is [40.0, 40.0, 60.0, 60.0], not [1.0, 2.0, 9.0, 9.0]"
    )


def test_a_set_without_a_class_or_a_name_is_said(well: Path) -> None:
    sql(well, "UPDATE labels SET boxes = '[[1, 2, 9, 9, 0]]' WHERE cycle IS NULL")
    replace(well / FILE_NAME, "[promotion]\n", '[promotion]\nsets = ["validation", "night"]\n')
    assert [(f.check, f.subject) for f in found(well)] == [
        ("sets.classes", "validation"),
        ("sets.missing", "night"),
    ]
