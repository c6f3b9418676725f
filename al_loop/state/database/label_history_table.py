"""Rows of the label history: labels that were replaced or taken back.

Triggers write them (`al_loop.state.database.migrations`), whoever replaces a label.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from al_loop.state.database.label_table import FullLabel
from al_loop.state.database.store import Store

_COLUMNS = "image_id, status, boxes, cycle, annotator, lead_time_s, updated_at, outlines"
_FULL = f"{_COLUMNS}, ignored, role, sets"


@dataclass(frozen=True, slots=True)
class OldLabelRow(FullLabel):
    """A label as it was.

    role, sets: of the image then.
    reason: 'pull', 'taken back', or the command that replaced it.
    batch: rows of one command share it; None: replaced by a pull.
    """

    id: int
    replaced_at: str
    reason: str
    batch: int | None


def last_id(store: Store) -> int:
    """Return the id of the newest row, 0 without any."""
    return store.count("SELECT coalesce(max(id), 0) FROM label_history")


def set_reason_behind(store: Store, last: int, reason: str) -> None:
    """Give the rows behind `last` a reason, and a batch of their own."""
    store.execute(
        "UPDATE label_history SET reason = ?, "
        "batch = (SELECT coalesce(max(batch), 0) + 1 FROM label_history) WHERE id > ?",
        *(reason, last),
    )


def copy_label(store: Store, image_id: str, at: str) -> None:
    """Write down the label of an image, with its role and sets, though it stays."""
    store.execute(
        f"INSERT INTO label_history ({_FULL}, replaced_at, reason) "
        f"SELECT {_FULL}, ?, '' FROM full_labels WHERE image_id = ?",
        *(at, image_id),
    )


def newest_old_labels(store: Store, limit: int) -> list[OldLabelRow]:
    """Return the newest rows, the newest first."""
    return store.all(OldLabelRow, "SELECT * FROM label_history ORDER BY id DESC LIMIT ?", limit)


def old_label_count(store: Store) -> int:
    """Return how many rows there are."""
    return store.count("SELECT count(*) FROM label_history")


def labels_before_last_batch(store: Store) -> list[OldLabelRow]:
    """Return what the last command replaced: of each image the oldest row, which is what there was before it."""
    return store.all(
        OldLabelRow,
        "SELECT * FROM label_history WHERE id IN (SELECT min(id) FROM label_history "
        "WHERE batch = (SELECT max(batch) FROM label_history) GROUP BY image_id) ORDER BY id",
    )


def newest_old_label(store: Store, image_id: str) -> OldLabelRow | None:
    """Return the newest row of an image."""
    return store.first(
        OldLabelRow, "SELECT * FROM label_history WHERE image_id = ? ORDER BY id DESC LIMIT 1", image_id
    )


def put_back(store: Store, row: OldLabelRow, at: str) -> None:
    """Restore a label with the role and the sets of its image; what it replaces is written down in turn."""
    image = row.image_id
    current = store.row("SELECT status, boxes, outlines FROM labels WHERE image_id = ?", image)
    if current is not None and tuple(current) == (row.status, row.boxes, row.outlines):
        copy_label(store, image, at)  # the label stays, and the role changes
    store.execute(
        f"INSERT OR REPLACE INTO labels ({_COLUMNS}) SELECT {_COLUMNS} FROM label_history WHERE id = ?",
        row.id,
    )
    store.execute("DELETE FROM ignore_regions WHERE image_id = ?", image)
    if row.ignored is not None:
        store.execute("INSERT INTO ignore_regions (image_id, boxes) VALUES (?, ?)", image, row.ignored)
    if row.role == "pool":
        store.execute("DELETE FROM sets WHERE image_id = ?", image)
    store.write_many(
        "INSERT OR IGNORE INTO sets VALUES (?, ?)", [(name, image) for name in json.loads(row.sets)]
    )
    store.execute("UPDATE images SET role = ? WHERE id = ?", row.role, image)
