"""Check every label: format, position, class."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from al_loop.doctor.finding import CheckContext, Finding
from al_loop.images.repository import set_names
from al_loop.state.database import label_table
from al_loop.state.database.label_table import CheckedLabel
from al_loop.structures.metrics import VALIDATION

_RESTORE = "al-loop pool restore-labels"
_SLACK_PX = 0.01  # corners come from percentages


def boxes(context: CheckContext) -> Iterator[Finding]:
    """Find boxes that are unreadable, outside their image or of no class, and wrong statuses."""
    classes = context.workspace.config.classes
    for row in label_table.stream_labels(context.workspace.store):
        for check, problem in _problems(row, len(classes)):
            yield Finding(f"labels.{check}", f"labels of {row.image_id[:12]}", problem, _mend(row))


def _problems(row: CheckedLabel, classes: int) -> Iterator[tuple[str, str]]:
    rows = _read(row.boxes)
    if rows is None:
        yield "unreadable", "cannot be read as boxes: expected JSON [[x1, y1, x2, y2, class], ...]"
        return
    for number, box in enumerate(rows, start=1):
        yield from _box(f"box {number}", box, row.width, row.height, classes)
    if (row.status == "labelled") != bool(rows):
        yield "status", f"is {row.status!r} with {len(rows)} boxes"
    yield from _outlines(row, len(rows))
    regions = _read(row.ignored or "[]")
    if regions is None:
        yield "unreadable", "its ignore regions cannot be read: expected JSON [[x1, y1, x2, y2, class], ...]"
    for number, box in enumerate(regions or (), start=1):
        yield from _box(f"ignore region {number}", box, row.width, row.height, None)


def _read(text: str) -> list[list[float]] | None:
    """Parse boxes of the database, None for what is no list of boxes."""
    try:
        rows = [[float(number) for number in box] for box in json.loads(text)]
    except (ValueError, TypeError, RecursionError):
        return None
    return rows if all(len(box) == 5 for box in rows) else None


def _box(
    name: str, box: list[float], width: int, height: int, classes: int | None
) -> Iterator[tuple[str, str]]:
    x1, y1, x2, y2, label = box
    if not all(map(math.isfinite, box)):
        yield "unreadable", f"{name} has numbers that are not finite: {box}"
    elif classes is not None and not (label.is_integer() and 0 <= label < classes):
        yield "class", f"{name} is of class {label:g}, there are 0 to {classes - 1}"
    elif x2 <= x1 or y2 <= y1:
        yield "empty-box", f"{name} has no area: {box[:4]}"
    elif min(x1, y1) < -_SLACK_PX or x2 > width + _SLACK_PX or y2 > height + _SLACK_PX:
        yield "outside", f"{name} lies outside the picture of {width}x{height} px: {box[:4]}"


def _outlines(row: CheckedLabel, count: int) -> Iterator[tuple[str, str]]:
    if row.outlines is None:
        return
    try:
        drawn = json.loads(row.outlines)
    except (ValueError, RecursionError):
        drawn = None
    if not isinstance(drawn, list) or len(drawn) != count:
        yield "outlines", f"its outlines cannot be read as one for each of {count} boxes"


def sets(context: CheckContext) -> Iterator[Finding]:
    """Find images without labels and classes without boxes in the sets for evaluation."""
    store, classes = context.workspace.store, context.workspace.config.classes
    for row in label_table.unlabelled_in_sets(store):
        yield Finding(
            "sets.unlabelled",
            f"{row.image_id[:12]} in {row.name}",
            "has no labels to judge by",
            f"{_RESTORE} {row.image_id}" if row.replaced else _add_val(row.name),
        )
    for name in set_names(context.workspace):
        seen: set[int] = set()
        for text in label_table.boxes_in_set(store, name):
            try:
                seen |= {int(box[4]) for box in json.loads(text)}
            except (ValueError, TypeError, IndexError):
                continue  # said by `boxes`
        missing = [label for index, label in enumerate(classes) if index not in seen]
        if missing and (name == VALIDATION or len(missing) == len(classes)):
            yield Finding(
                "sets.classes",
                name,
                f"has no box of {', '.join(missing)}: AP of it cannot be known",
                _add_val(name),
            )
    for name in context.workspace.config.promotion.sets:
        if set_names(context.workspace) and name not in set_names(context.workspace):
            yield Finding(
                "sets.missing", name, "promotion.sets names it, and there is no such set", _add_val(name)
            )


def _add_val(name: str) -> str:
    return f"al-loop pool add-val COCO.json{'' if name == VALIDATION else f' --name {name}'}"


def _mend(row: CheckedLabel) -> str:
    """Return the command that restores a replaced label, or the way to draw it again."""
    if row.replaced:
        return f"{_RESTORE} {row.image_id}"
    if row.role != "pool":
        return "al-loop pool add-val COCO.json --replace, with the file that the set came from, corrected"
    return "draw it again in Label Studio, then: al-loop cycle"
