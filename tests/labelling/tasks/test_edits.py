"""What people do to the model's outlines is counted as what they do to its boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from al_loop.labelling.client.task import Edits, PulledTask, TaskState
from al_loop.labelling.tasks.convert import new_region
from al_loop.labelling.tasks.edits import count_edits, hasty_notes
from al_loop.labelling.tasks.outlines import brush_value, polygon_value
from al_loop.labelling.tasks.regions import BRUSH, POLYGON, ImageSize
from al_loop.structures.boxes import Boxes

SIZE = ImageSize(200, 100)
TRIANGLE = np.array([[20.0, 10.0], [100.0, 10.0], [100.0, 60.0]])


def polygon(points: np.ndarray = TRIANGLE, label: str = "one") -> dict[str, Any]:
    return new_region("p", POLYGON, polygon_value(points, SIZE), label, SIZE)


def moved_by(x: float, y: float) -> dict[str, Any]:
    return polygon(TRIANGLE + np.array([x, y]))


def brush(pixels: np.ndarray, label: str = "one") -> dict[str, Any]:
    return new_region("b", BRUSH, brush_value(pixels), label, SIZE)


def block() -> np.ndarray:
    pixels = np.zeros((100, 200), np.bool_)
    pixels[20:40, 30:70] = True
    return pixels


def holed() -> np.ndarray:
    pixels = block()
    pixels[30, 50] = False
    return pixels


@pytest.mark.parametrize(
    ("after", "edits"),
    [
        (polygon(), Edits(kept=1)),
        (polygon(TRIANGLE + 1e-9), Edits(kept=1)),  # a browser's rounding
        (moved_by(5, -3), Edits(moved=1)),
        (moved_by(0, 0.01), Edits(moved=1)),
        (polygon(TRIANGLE * 1.1), Edits(resized=1)),
        (polygon(np.vstack([TRIANGLE[:2], [[104, 60]]])), Edits(resized=1)),  # a corner was dragged
        (polygon(np.insert(TRIANGLE, 1, [60, 8], axis=0)), Edits(resized=1)),  # a corner was added
        (polygon(label="two"), Edits(relabelled=1)),
        (polygon(TRIANGLE + 5, label="two"), Edits(relabelled=1)),  # once, as a box
        (polygon() | {"id": "q"}, Edits(deleted=1, added=1)),
    ],
)
def test_polygons(after: dict[str, Any], edits: Edits) -> None:
    assert count_edits([polygon()], [after], SIZE) == edits


@pytest.mark.parametrize(
    ("after", "edits"),
    [
        (brush(block()), Edits(kept=1)),
        (brush(holed()), Edits(resized=1)),
        (brush(block(), label="two"), Edits(relabelled=1)),
    ],
)
def test_brush_regions(after: dict[str, Any], edits: Edits) -> None:
    assert count_edits([brush(block())], [after], SIZE) == edits


def test_the_same_pixels_in_other_run_lengths_are_kept() -> None:
    """The browser packs runs in another way, with a soft edge where nothing was painted more than half."""
    pixels = np.where(block(), 255, 0).astype(np.uint8)
    pixels[20:40, 70] = 100
    soft = brush(block())
    soft["value"]["rle"] = _packed(pixels)
    assert soft["value"]["rle"] != brush(block())["value"]["rle"]
    assert count_edits([brush(block())], [soft], SIZE) == Edits(kept=1)


def _packed(alpha: np.ndarray) -> list[int]:
    from label_studio_sdk.converter.brush import mask2rle

    return list(mask2rle(alpha))


def test_a_proposal_that_cannot_be_read_was_seen_by_nobody() -> None:
    damaged = brush(block())
    damaged["value"]["rle"] = [1, 2, 3]
    assert count_edits([damaged, 7], [brush(block())], SIZE) == Edits(resized=1)


def answers(count: int, seconds: float, edits: Edits | None, person: str = "anna") -> list[PulledTask]:
    return [
        PulledTask(
            f"k{n}",
            f"i{n}",
            n,
            TaskState.LABELLED,
            Boxes(),
            annotator=person,
            lead_time_s=seconds,
            edits=edits,
        )
        for n in range(count)
    ]


def test_a_person_who_changes_nothing_in_no_time_is_named() -> None:
    notes = hasty_notes([*answers(5, 1.5, Edits(kept=3)), *answers(9, 8.0, Edits(kept=3), "bob")])
    assert notes == [
        "anna answered 5 images in 1.5 s each and changed nothing. Look at some of them: al-loop labels check"
    ]


@pytest.mark.parametrize(
    ("count", "seconds", "edits"),
    [
        (4, 1.0, Edits(kept=3)),
        (5, 2.0, Edits(kept=3)),
        (5, 1.0, Edits(kept=3, added=1)),
        (5, 1.0, Edits(kept=3, deleted=1)),
        (5, 1.0, Edits(moved=1)),
        (5, 1.0, Edits()),
        (5, 1.0, None),
    ],
    ids=["few", "slow", "added", "deleted", "moved", "no box was shown", "blind"],
)
def test_others_are_not_named(count: int, seconds: float, edits: Edits | None) -> None:
    assert hasty_notes(answers(count, seconds, edits)) == []
