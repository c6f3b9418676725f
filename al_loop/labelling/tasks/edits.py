"""Count what people did to the regions that the model proposed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from statistics import median

import numpy as np

from al_loop.labelling.client.task import Edits, PulledTask
from al_loop.labelling.tasks.outlines import brush_mask
from al_loop.labelling.tasks.regions import (
    CONTROLS,
    Brush,
    ImageSize,
    Polygon,
    Rectangle,
    RefusedResultError,
    Region,
    Value,
    parse_value,
    read_regions,
    read_value,
)
from al_loop.structures.boxes import FloatArray

# A point that moved by less counts as unchanged: far below a pixel, far above a browser's rounding.
_UNCHANGED_PERCENT = 1e-6
#: People with at least so many answers, of a median time below _HASTY_S, have hardly looked at the images.
_LEAST_ANSWERS = 5
_HASTY_S = 2.0


def hasty_notes(tasks: Sequence[PulledTask]) -> list[str]:
    """Return a message for each person who has left the model's boxes as they are in no time."""
    answers: dict[str, list[PulledTask]] = {}
    for task in tasks:
        if task.annotator is not None and task.lead_time_s is not None and task.boxes is not None:
            answers.setdefault(task.annotator, []).append(task)
    return [
        f"{person} answered {len(given)} images in {median(times):.1f} s each and changed nothing. Look at "
        "some of them: al-loop labels check"
        for person, given in sorted(answers.items())
        if len(given) >= _LEAST_ANSWERS
        and median(times := [task.lead_time_s or 0.0 for task in given]) < _HASTY_S
        and not any(_changed(task.edits) for task in given)
        and any(task.edits and task.edits.proposed for task in given)
    ]


def _changed(edits: Edits | None) -> bool:
    """Whether a person has changed the model's boxes; True if none were shown."""
    return edits is None or edits != Edits(kept=edits.kept)


def count_edits(proposed: Sequence[object], submitted: object, size: ImageSize) -> Edits:
    """Count what people did to the proposed regions, which are matched by id and type.

    A rectangle replaced by an outline counts as one deleted and one added. Proposals that cannot be read do
    not count: nobody has seen them. Raises RefusedResultError if `submitted` is not a list of regions.

    size: of the image.
    """
    before: dict[tuple[str | int | None, str], Region] = {}
    for item in proposed:
        with suppress(RefusedResultError):
            old = parse_value(item, Region, "a proposal")
            before[old.id, old.type] = old
    counts = dict.fromkeys(("kept", "moved", "resized", "relabelled", "added"), 0)
    seen = set()
    for new in read_regions(submitted):
        key = (new.id, new.type)
        if key in before:
            seen.add(key)
        counts[_kind_of_edit(before[key], new, size) if key in before else "added"] += 1
    return Edits(deleted=len(before) - len(seen), **counts)


def _kind_of_edit(old: Region, new: Region, size: ImageSize) -> str:
    """Return the field of `Edits` that counts this change."""
    if new.type not in CONTROLS:
        return "kept"
    try:
        was, now = read_value(old), read_value(new)
        return "relabelled" if was.labels != now.labels else _change(was, now, size)
    except RefusedResultError:
        return "resized"


def _change(was: Value, now: Value, size: ImageSize) -> str:
    """Return what became of a region's place and shape: "kept", "moved" or "resized"."""
    if isinstance(was, Brush) and isinstance(now, Brush):
        same = was.rle == now.rle or np.array_equal(brush_mask(was, size), brush_mask(now, size))
        return "kept" if same else "resized"
    (place, shape), (new_place, new_shape) = _measure(was), _measure(now)
    if shape.shape != new_shape.shape or _differ(shape, new_shape):
        return "resized"
    return "moved" if _differ(place, new_place) else "kept"


def _measure(value: Value) -> tuple[FloatArray, FloatArray]:
    """Return the first point of a rectangle or polygon, and its numbers that stay when it is moved."""
    if isinstance(value, Rectangle):
        return np.array([value.x, value.y]), np.array([value.width, value.height, value.rotation])
    assert isinstance(value, Polygon)
    points = np.array(value.points).reshape(-1, 2)
    return points[:1], np.diff(points, axis=0)


def _differ(before: FloatArray, after: FloatArray) -> bool:
    return bool((np.abs(after - before) > _UNCHANGED_PERCENT).any())
