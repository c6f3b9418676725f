"""Labels that were replaced or taken back, and their way back.

The database itself writes them down (triggers in `al_loop.state.database.migrations`), whoever replaces a label.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from al_loop.core.errors import DataError
from al_loop.state.database import label_history_table
from al_loop.state.database.image_table import ids_beginning_with
from al_loop.state.database.label_history_table import OldLabelRow
from al_loop.state.workspace import Workspace, now


@dataclass(frozen=True)
class OldLabel:
    """A label as it was before it was replaced.  boxes: how many.  sets: those that the image was in."""

    image_id: str
    status: str
    boxes: int
    annotator: str | None
    cycle: int | None
    role: str
    sets: tuple[str, ...]
    replaced_at: str
    reason: str

    def __str__(self) -> str:
        """Say what it was, of which image, and what replaced it."""
        what = f"{self.boxes} boxes" if self.status == "labelled" else self.status
        by = f" by {self.annotator}" if self.annotator else ""
        by += f" in cycle {self.cycle}" if self.cycle is not None else ""
        where = ", ".join(self.sets) or self.role
        return f"{self.image_id[:12]}  {self.replaced_at}  {what}{by}, in {where}; replaced by {self.reason}"


@contextmanager
def replacing(workspace: Workspace, reason: str) -> Iterator[None]:
    """Say why labels are replaced inside, and that they belong together; within the caller's transaction."""
    last = label_history_table.last_id(workspace.store)
    yield
    label_history_table.set_reason_behind(workspace.store, last, reason)


def keep_label(workspace: Workspace, image_id: str) -> None:
    """Write down an image's label, role and sets though the label stays: its role is about to change."""
    label_history_table.copy_label(workspace.store, image_id, now())


def old_labels(workspace: Workspace, limit: int) -> tuple[list[OldLabel], int]:
    """Return the newest of the labels that can be restored, and how many there are."""
    rows = label_history_table.newest_old_labels(workspace.store, limit)
    return [_old(row) for row in rows], label_history_table.old_label_count(workspace.store)


def restore(workspace: Workspace, names: Sequence[str], *, last: bool = False) -> list[OldLabel]:
    """Put back the newest old label of each image, with the role that the image had; return what was put back.

    names: ids of images, or their beginnings as `pool list` shows them.  last: all that the last command replaced
    together. What is replaced by this can be restored in turn.
    Raises DataError, before anything is changed, for an image that has no old label.
    """
    if last == bool(names):
        raise DataError("expected either images or --last. See what there is: al-loop pool restore-labels")
    rows = _last(workspace) if last else [_newest(workspace, name) for name in dict.fromkeys(names)]
    with workspace.store.transaction(), replacing(workspace, "pool restore-labels"):
        for row in rows:
            label_history_table.put_back(workspace.store, row, now())
    return [_old(row) for row in rows]


def _last(workspace: Workspace) -> list[OldLabelRow]:
    """The labels of the last command: of each image the oldest, which is what there was before it."""
    rows = label_history_table.labels_before_last_batch(workspace.store)
    if not rows:
        raise DataError("no command has replaced labels. See what pulls have: al-loop pool restore-labels")
    return rows


def _newest(workspace: Workspace, name: str) -> OldLabelRow:
    images = ids_beginning_with(workspace.store, name, limit=2)
    if len(images) != 1:
        said = "no image" if not images else "more than one image"
        raise DataError(
            f"{name!r} is {said} of this workspace: expected the beginning of an id. See: al-loop pool list"
        )
    row = label_history_table.newest_old_label(workspace.store, images[0])
    if row is None:
        raise DataError(
            f"image {name} has no other label than the one it has. See: al-loop pool restore-labels"
        )
    return row


def _old(row: OldLabelRow) -> OldLabel:
    return OldLabel(
        image_id=row.image_id,
        status=row.status,
        boxes=len(json.loads(row.boxes)),
        annotator=row.annotator,
        cycle=row.cycle,
        role=row.role,
        sets=tuple(json.loads(row.sets)),
        replaced_at=row.replaced_at,
        reason=row.reason,
    )
