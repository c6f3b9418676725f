"""Images of the pool of which people have verified single boxes: the rest of them is unknown."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from al_loop.images.repository import images_by_id
from al_loop.state.database.verdict_table import VerdictRow, all_verdicts, unlabelled_with_verdicts
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes, FloatArray, iou
from al_loop.structures.images import ImageFile, LabelledImage

#: Least IoU at which a box of a model is one that people have verified.
SAME = 0.5
#: Sessions of at least so many equal answers, in less than HASTY_S s each, are not believed.
_LEAST_ANSWERS = 20
HASTY_S = 0.4


@dataclass(frozen=True, eq=False)
class VerifiedImages:
    """Images with verified boxes, to train on.

    images: each with its right boxes, see `partly_labelled`.
    hasty: sessions whose answers are not used, since nobody has looked at the boxes.
    """

    images: list[LabelledImage]
    hasty: list[str]


def verified(workspace: Workspace, seen: Callable[[str], Boxes | None] = lambda _: None) -> VerifiedImages:
    """Return the images with right boxes, by id, without those that have a label.

    seen: returns the boxes of a model on an image; None if they are unknown.
    """
    rows = all_verdicts(workspace.store)
    if not rows:
        return VerifiedImages([], [])
    believed, hasty = believed_verdicts(rows)
    free = unlabelled_with_verdicts(workspace.store)
    right, wrong = dict[str, list[list[float]]](), dict[str, list[list[float]]]()
    for row in sorted(believed, key=lambda row: (row.image_id, row.box)):
        box = json.loads(row.box)[:4]
        if row.image_id in free and row.verdict in ("right", "class"):
            right.setdefault(row.image_id, []).append([*box, row.label])
        elif row.verdict == "wrong":
            wrong.setdefault(row.image_id, []).append(box)
    images = []
    for file in images_by_id(workspace, list(right)):
        table = np.array(right[file.id], np.float64)
        known = Boxes(table[:, :4], table[:, 4].astype(np.int64))
        background = np.array(wrong.get(file.id, []), np.float64).reshape(-1, 4)
        images.append(partly_labelled(file, known, background, seen(file.id)))
    return VerifiedImages(images, hasty)


def partly_labelled(file: ImageFile, right: Boxes, wrong: FloatArray, seen: Boxes | None) -> LabelledImage:
    """Return an image of which only some boxes are known.

    right: boxes of objects.
    wrong: (n, 4) xyxy px, boxes in which there is no object.
    seen: boxes of a model. Those that overlap no known box are ignored, as they may show objects; where the
        model sees nothing is background. None: the whole image is ignored.
    """
    if seen is None:
        regions = np.array([[0.0, 0.0, file.width, file.height]])
    else:
        known = np.concatenate([right.xyxy, wrong])
        regions = seen.xyxy[iou(seen.xyxy, known).max(axis=1, initial=0.0) < SAME]
    return LabelledImage(file, right, Boxes(regions, np.zeros(len(regions), np.int64)))


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
