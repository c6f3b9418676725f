"""Images of the pool of which people have verified single boxes: all else on them is unknown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from al_loop.images.repository import images_by_id
from al_loop.state.database.verdict_table import VerdictRow, all_verdicts, unlabelled_with_verdicts
from al_loop.state.workspace import Workspace
from al_loop.structures.boxes import Boxes
from al_loop.structures.images import LabelledImage

#: Sessions of at least so many answers, all "right", in less than HASTY_S s each, are not believed.
_LEAST_ANSWERS = 20
HASTY_S = 0.4


@dataclass(frozen=True, eq=False)
class VerifiedImages:
    """Images with verified boxes, to train on.

    images: each with its right boxes, and an ignore region that covers all of it: an object elsewhere on the
        image is unknown, and not background.
    hasty: sessions whose answers are not used, since nobody has looked at the boxes.
    """

    images: list[LabelledImage]
    hasty: list[str]


def verified(workspace: Workspace) -> VerifiedImages:
    """Return the images with verified boxes, by id, without those that have a label."""
    rows = all_verdicts(workspace.store)
    if not rows:
        return VerifiedImages([], [])
    believed, hasty = believed_verdicts(rows)
    free, boxes = unlabelled_with_verdicts(workspace.store), dict[str, list[list[float]]]()
    for row in sorted(believed, key=lambda row: (row.image_id, row.box)):
        if row.image_id in free and row.verdict in ("right", "class"):
            boxes.setdefault(row.image_id, []).append([*json.loads(row.box)[:4], row.label])
    images = []
    for file in images_by_id(workspace, list(boxes)):
        table = np.array(boxes[file.id], np.float64)
        everything = Boxes(np.array([[0.0, 0.0, file.width, file.height]]), np.zeros(1, np.int64))
        images.append(LabelledImage(file, Boxes(table[:, :4], table[:, 4].astype(np.int64)), everything))
    return VerifiedImages(images, hasty)


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
        and all(row.verdict == "right" for row in rows)
        and median(row.seconds for row in rows) < HASTY_S
    )
