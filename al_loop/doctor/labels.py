"""Check every label: format, position, class."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import chain

import msgspec
import numpy as np

from al_loop.doctor.finding import CheckContext, Finding
from al_loop.state.database import label_table
from al_loop.state.database.label_table import CheckedLabel
from al_loop.structures.metrics import VALIDATION

_RESTORE = "al-loop labels restore"
_SLACK_PX = 0.01  # corners come from percentages
_FORMAT = "expected JSON [[x1, y1, x2, y2, class], ...]"

_Box = tuple[float, float, float, float, float]


def boxes(context: CheckContext) -> Iterator[Finding]:
    """Find boxes that are unreadable, outside their image or of no class, and wrong statuses."""
    config = context.workspace.config
    for row in label_table.stream_labels(context.workspace.store):
        problems = _problems(row, len(config.classes))
        for check, problem in chain(problems, _outlines(row) if config.outlined else ()):
            yield Finding(f"labels.{check}", f"labels of {row.image_id[:12]}", problem, _mend(row))


def _problems(row: CheckedLabel, classes: int) -> Iterator[tuple[str, str]]:
    rows = _read(row.boxes)
    if rows is None:
        yield "unreadable", f"cannot be read as boxes: {_FORMAT}"
        return
    for number, box in enumerate(rows, start=1):
        yield from _box(f"box {number}", box, row, classes)
    if (row.status == "labelled") != bool(rows):
        yield "status", f"is {row.status!r} with {len(rows)} boxes"
    if row.outlines is not None and _count(row.outlines) != len(rows):
        yield "outlines", f"its outlines cannot be read as one for each of {len(rows)} boxes"
    regions = _read(row.ignored or "[]")
    if regions is None:
        yield "unreadable", f"its ignore regions cannot be read: {_FORMAT}"
    for number, box in enumerate(regions or (), start=1):
        yield from _box(f"ignore region {number}", box, row, None)


def _outlines(row: CheckedLabel) -> Iterator[tuple[str, str]]:
    """Yield the outlines that cannot be evaluated. `_problems` reports other problems of the label."""
    boxes = _read(row.boxes) or []
    if row.outlines is None or _count(row.outlines) != len(boxes):
        return
    from al_loop.images.outlines import outline_problem

    for number, (box, outline) in enumerate(zip(boxes, json.loads(row.outlines), strict=True), start=1):
        corners = np.array(box[:4])
        if np.isfinite(corners).all() and (corners[2:] > corners[:2]).all():
            reason = outline_problem(outline, corners, row.width, row.height)
            if reason is not None:
                yield "outlines", f"outline {number} cannot be used: {reason}"


def _read(text: str) -> list[_Box] | None:
    """Parse boxes of the database, None if they cannot be read. NaN is read as JSON of Python."""
    try:
        return msgspec.convert(json.loads(text), list[_Box])
    except (ValueError, RecursionError, msgspec.ValidationError):
        return None


def _count(text: str) -> int | None:
    """Return the length of a JSON list; None for anything else."""
    try:
        return len(msgspec.json.decode(text, type=list[msgspec.Raw]))
    except (msgspec.MsgspecError, RecursionError):
        return None


def _box(name: str, box: _Box, row: CheckedLabel, classes: int | None) -> Iterator[tuple[str, str]]:
    x1, y1, x2, y2, label = box
    corners = list(box[:4])
    if not all(map(math.isfinite, box)):
        yield "unreadable", f"{name} has numbers that are not finite: {list(box)}"
    elif classes is not None and not (label.is_integer() and 0 <= label < classes):
        yield "class", f"{name} is of class {label:g}, there are 0 to {classes - 1}"
    elif x2 <= x1 or y2 <= y1:
        yield "empty-box", f"{name} has no area: {corners}"
    elif min(x1, y1) < -_SLACK_PX or x2 > row.width + _SLACK_PX or y2 > row.height + _SLACK_PX:
        yield "outside", f"{name} lies outside the image of {row.width}x{row.height} px: {corners}"


def sets(context: CheckContext) -> Iterator[Finding]:
    """Find images without labels and classes without boxes in the sets for evaluation."""
    workspace = context.workspace
    store, classes, names = workspace.store, workspace.config.classes, label_table.set_names(workspace.store)
    for row in label_table.unlabelled_in_sets(store):
        mend = f"{_RESTORE} {row.image_id}" if row.replaced else _add_val(row.name)
        yield Finding("sets.unlabelled", f"{row.image_id[:12]} in {row.name}", "has no labels", mend)
    for name in names:
        texts = label_table.boxes_in_set(store, name)
        seen = {int(box[4]) for text in texts for box in _read(text) or () if math.isfinite(box[4])}
        missing = [label for index, label in enumerate(classes) if index not in seen]
        if missing and (name == VALIDATION or len(missing) == len(classes)):
            problem = f"has no box of {', '.join(missing)}, so their AP is unknown"
            yield Finding("sets.classes", name, problem, _add_val(name))
    for name in workspace.config.promotion.sets:
        if names and name not in names:
            yield Finding("sets.missing", name, "is in promotion.sets, but does not exist", _add_val(name))


def _add_val(name: str) -> str:
    return f"al-loop pool add-val COCO.json{'' if name == VALIDATION else f' --name {name}'}"


def _mend(row: CheckedLabel) -> str:
    """Return the command that restores a replaced label, or the way to draw it again."""
    if row.replaced:
        return f"{_RESTORE} {row.image_id}"
    if row.role != "pool":
        return "al-loop pool add-val COCO.json --replace, with the file that the set came from, corrected"
    return "draw it again in Label Studio, then: al-loop cycle"
