"""Labels that were replaced or taken back, and their way back.

The database itself writes them down (triggers in `al_loop.state.database.migrations`), whoever replaces a label.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from al_loop.core.errors import DataError
from al_loop.state.workspace import Workspace, now

_COLUMNS = "image_id, status, boxes, cycle, annotator, lead_time_s, updated_at, outlines"
_FULL = f"{_COLUMNS}, ignored, role, sets"


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
    store = workspace.store
    before = store.count("SELECT coalesce(max(id), 0) FROM label_history")
    yield
    store.execute(
        "UPDATE label_history SET reason = ?, "
        "batch = (SELECT coalesce(max(batch), 0) + 1 FROM label_history) WHERE id > ?",
        reason,
        before,
    )


def keep_label(workspace: Workspace, image_id: str) -> None:
    """Write down an image's label, role and sets though the label stays: its role is about to change."""
    workspace.store.execute(
        f"INSERT INTO label_history ({_FULL}, replaced_at, reason) "
        f"SELECT {_FULL}, ?, '' FROM full_labels WHERE image_id = ?",
        now(),
        image_id,
    )


def old_labels(workspace: Workspace, limit: int) -> tuple[list[OldLabel], int]:
    """Return the newest of the labels that can be restored, and how many there are."""
    rows = workspace.store.rows("SELECT * FROM label_history ORDER BY id DESC LIMIT ?", limit)
    return [_old(row) for row in rows], workspace.store.count("SELECT count(*) FROM label_history")


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
            _put_back(workspace, row)
    return [_old(row) for row in rows]


def _last(workspace: Workspace) -> list[sqlite3.Row]:
    """The labels of the last command: of each image the oldest, which is what there was before it."""
    rows = workspace.store.rows(
        "SELECT * FROM label_history WHERE id IN (SELECT min(id) FROM label_history "
        "WHERE batch = (SELECT max(batch) FROM label_history) GROUP BY image_id) ORDER BY id"
    )
    if not rows:
        raise DataError("no command has replaced labels. See what pulls have: al-loop pool restore-labels")
    return rows


def _newest(workspace: Workspace, name: str) -> sqlite3.Row:
    images = workspace.store.rows("SELECT id FROM images WHERE substr(id, 1, ?) = ? LIMIT 2", len(name), name)
    if len(images) != 1:
        said = "no image" if not images else "more than one image"
        raise DataError(
            f"{name!r} is {said} of this workspace: expected the beginning of an id. See: al-loop pool list"
        )
    row = workspace.store.row(
        "SELECT * FROM label_history WHERE image_id = ? ORDER BY id DESC LIMIT 1", images[0]["id"]
    )
    if row is None:
        raise DataError(
            f"image {name} has no other label than the one it has. See: al-loop pool restore-labels"
        )
    return row


def _put_back(workspace: Workspace, row: sqlite3.Row) -> None:
    """Restore one label; a label that stays the same is written down too, as the role changes."""
    store, image = workspace.store, row["image_id"]
    current = store.row("SELECT status, boxes, outlines FROM labels WHERE image_id = ?", image)
    if current is not None and tuple(current) == (row["status"], row["boxes"], row["outlines"]):
        keep_label(workspace, image)
    store.execute(
        f"INSERT OR REPLACE INTO labels ({_COLUMNS}) SELECT {_COLUMNS} FROM label_history WHERE id = ?",
        row["id"],
    )
    store.execute("DELETE FROM ignore_regions WHERE image_id = ?", image)
    if row["ignored"] is not None:
        store.execute("INSERT INTO ignore_regions (image_id, boxes) VALUES (?, ?)", image, row["ignored"])
    if row["role"] == "pool":
        store.execute("DELETE FROM sets WHERE image_id = ?", image)
    for name in json.loads(row["sets"]):
        store.execute("INSERT OR IGNORE INTO sets VALUES (?, ?)", name, image)
    store.execute("UPDATE images SET role = ? WHERE id = ?", row["role"], image)


def _old(row: sqlite3.Row) -> OldLabel:
    return OldLabel(
        image_id=row["image_id"],
        status=row["status"],
        boxes=len(json.loads(row["boxes"])),
        annotator=row["annotator"],
        cycle=row["cycle"],
        role=row["role"],
        sets=tuple(json.loads(row["sets"])),
        replaced_at=row["replaced_at"],
        reason=row["reason"],
    )
