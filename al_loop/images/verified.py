"""Images of the pool of which people have verified single boxes: the rest of them is unknown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np

from al_loop.images.repository import images_by_id
from al_loop.state.database.verdict_table import VerdictRow, all_verdicts, unlabelled_with_verdicts
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes, FloatArray
from al_loop.structures.images import ImageFile, LabelledImage

#: Sessions of at least so many equal answers, in less than HASTY_S s each, are not believed.
_LEAST_ANSWERS = 20
HASTY_S = 0.4


@dataclass(frozen=True, eq=False)
class VerifiedImages:
    """Images with verified boxes, to train on.

    images: each with its right boxes, see `partly_labelled`. A box without an object is background; whether
        there are objects elsewhere is unknown.
    wrong: number of boxes without an object.
    hasty: sessions whose answers are not used, since nobody has looked at the boxes.
    """

    images: list[LabelledImage]
    wrong: int
    hasty: list[str]


def verified(workspace: Workspace) -> VerifiedImages:
    """Return the images with verified boxes, by id, without those that have a label."""
    rows = all_verdicts(workspace.store)
    if not rows:
        return VerifiedImages([], 0, [])
    believed, hasty = believed_verdicts(rows)
    free = unlabelled_with_verdicts(workspace.store)
    right, wrong = dict[str, list[list[float]]](), dict[str, list[list[float]]]()
    for row in sorted(believed, key=lambda row: (row.image_id, row.box)):
        box = json.loads(row.box)[:4]
        if row.image_id in free and row.verdict in ("right", "class"):
            right.setdefault(row.image_id, []).append([*box, row.label])
        elif row.image_id in free and row.verdict == "wrong":
            wrong.setdefault(row.image_id, []).append(box)
    images = []
    for file in images_by_id(workspace, list(dict.fromkeys([*right, *wrong]))):
        table = np.array(right.get(file.id, []), np.float64).reshape(-1, 5)
        boxes = Boxes(table[:, :4], table[:, 4].astype(np.int64))
        images.append(partly_labelled(file, boxes, np.array(wrong.get(file.id, [])).reshape(-1, 4)))
    return VerifiedImages(images, sum(map(len, wrong.values())), hasty)


def partly_labelled(file: ImageFile, right: Boxes, wrong: FloatArray) -> LabelledImage:
    """Return an image of which only some boxes are known.

    right: boxes of objects.
    wrong: (n, 4) xyxy px, boxes in which there is no object: background.
    The rest is ignored, in regions that do not overlap.
    """
    regions = outside(wrong, file.width, file.height)
    return LabelledImage(file, right, Boxes(regions, np.zeros(len(regions), np.int64)))


def outside(holes: FloatArray, width: int, height: int) -> FloatArray:
    """Return rectangles (m, 4) that cover an image but for its holes, (n, 4), and do not overlap."""
    x, y = (
        np.unique(np.concatenate([[0.0, size], np.clip(holes[:, axis::2], 0, size).ravel()]))
        for axis, size in ((0, width), (1, height))
    )
    found = []
    for top, bottom in pairwise(y.tolist()):
        across = holes[(holes[:, 1] <= top) & (holes[:, 3] >= bottom)]
        free = [
            not ((across[:, 0] <= left) & (across[:, 2] >= right)).any()
            for left, right in pairwise(x.tolist())
        ]
        edges = np.flatnonzero(np.diff([False, *free, False]))
        found += [[x[first], top, x[end], bottom] for first, end in edges.reshape(-1, 2).tolist()]
    return np.array(found, np.float64).reshape(-1, 4)


def believed_verdicts(rows: Sequence[VerdictRow]) -> tuple[list[VerdictRow], list[str]]:
    """Return the answers of people who have looked at the boxes, and the sessions of the others."""
    sessions: dict[str, list[VerdictRow]] = {}
    for row in rows:
        sessions.setdefault(row.session, []).append(row)
    hasty = [name for name, answers in sessions.items() if _is_hasty(answers)]
    return [row for row in rows if row.session not in hasty], hasty


def _is_hasty(rows: list[VerdictRow]) -> bool:
    return (
        len(rows) >= _LEAST_ANSWERS
        and len({row.verdict for row in rows}) == 1
        and median(row.seconds for row in rows) < HASTY_S
    )
