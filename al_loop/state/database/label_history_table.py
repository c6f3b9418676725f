"""Rows of the label history: labels that were replaced or withdrawn.

Triggers write the rows (`al_loop.state.database.migrations`), so that no statement can bypass the history.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from al_loop.core.errors import DataError
from al_loop.state.database.image_table import ids_beginning_with, set_image_role
from al_loop.state.database.label_table import FullLabel, write_ignore_regions
from al_loop.state.database.store import Store

_COLUMNS = "image_id, status, boxes, cycle, annotator, lead_time_s, updated_at, outlines"
_FULL = f"{_COLUMNS}, ignored, role, sets"


@dataclass(frozen=True, slots=True, kw_only=True)
class OldLabel(FullLabel):
    """A label as it was before it was replaced.

    status: as in `FullLabel`, or 'unlabelled' for an image that had no label.
    role, sets: role and sets of the image at that time.
    reason: 'pull', 'taken back', or the command that replaced it.
    batch: number that the rows of one command share. None: a pull replaced the label.
    """

    id: int
    replaced_at: str
    reason: str
    batch: int | None

    @property
    def box_count(self) -> int:
        """Return the number of boxes."""
        return len(json.loads(self.boxes))

    @property
    def set_names(self) -> tuple[str, ...]:
        """Return the names of the sets that the image was in."""
        return tuple(json.loads(self.sets))

    def __str__(self) -> str:
        """Describe the label, its image and what replaced it."""
        content = f"{self.box_count} boxes" if self.status == "labelled" else self.status
        author = f" {'from' if self.cycle is None else 'by'} {self.annotator}" if self.annotator else ""
        author += f" in cycle {self.cycle}" if self.cycle is not None else ""
        place = ", ".join(self.set_names) or self.role
        head = f"{self.image_id[:12]}  {self.replaced_at}"
        return f"{head}  {content}{author}, in {place}; replaced by {self.reason}"


@contextmanager
def replacing(store: Store, reason: str) -> Iterator[None]:
    """Record the labels that the block replaces as one batch with a reason. Requires a transaction."""
    last = store.count("SELECT coalesce(max(id), 0) FROM label_history")
    yield
    store.execute(
        "UPDATE label_history SET reason = ?, "
        "batch = (SELECT coalesce(max(batch), 0) + 1 FROM label_history) WHERE id > ?",
        *(reason, last),
    )


def copy_label(store: Store, image_id: str) -> None:
    """Record the current label of an image, because its role or its ignore regions are about to change."""
    store.execute(
        f"INSERT INTO label_history ({_FULL}, replaced_at, reason) "
        f"SELECT {_FULL}, strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now'), '' FROM full_labels WHERE image_id = ?",
        image_id,
    )


def note_unlabelled(store: Store, images: Iterable[str]) -> None:
    """Record that images have no label, because a command is about to give them one that may be undone."""
    store.write_many(
        f"INSERT INTO label_history ({_FULL}, replaced_at, reason) "
        "SELECT id, 'unlabelled', '[]', NULL, NULL, NULL, added_at, NULL, NULL, role, "
        "(SELECT json_group_array(name) FROM sets WHERE image_id = id), "
        "strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now'), '' FROM images WHERE id = ?",
        ((image,) for image in images),
    )


def old_labels(store: Store, limit: int) -> tuple[list[OldLabel], int]:
    """Return the newest labels that can be restored, and the total number of these labels."""
    rows = store.all(OldLabel, "SELECT * FROM label_history ORDER BY id DESC LIMIT ?", limit)
    return rows, store.count("SELECT count(*) FROM label_history")


def restore(store: Store, names: Sequence[str], *, last: bool = False) -> list[OldLabel]:
    """Restore the newest old label of each image, and the role that the image had. Return these labels.

    names: ids of images, or the beginnings of ids as `pool list` shows them.
    last: instead, restore all labels that the last command replaced.
    The labels that are replaced now can be restored later.
    Raises DataError, before any change, for an image without an old label.
    """
    if last == bool(names):
        raise DataError("expected either images or --last. List the old labels: al-loop labels restore")
    # The oldest row of each image in the batch is its label before the command.
    rows = store.all(
        OldLabel,
        "SELECT * FROM label_history WHERE ? AND id IN (SELECT min(id) FROM label_history "
        "WHERE batch = (SELECT max(batch) FROM label_history) GROUP BY image_id) ORDER BY id",
        last,
    )
    if last and not rows:
        raise DataError(
            "no command has replaced labels. List labels that pulls replaced: al-loop labels restore"
        )
    rows += [_newest(store, name) for name in dict.fromkeys(names)]
    restore_labels(store, rows, "labels restore")
    return rows


def old_labels_of(store: Store, image_id: str) -> list[OldLabel]:
    """Return the labels of an image that can be restored, newest first."""
    return store.all(OldLabel, "SELECT * FROM label_history WHERE image_id = ? ORDER BY id DESC", image_id)


def restore_labels(store: Store, rows: Sequence[OldLabel], reason: str) -> None:
    """Restore labels, and the roles that their images had. The history keeps the replaced labels."""
    with store.transaction(), replacing(store, reason):
        for row in rows:
            _restore_label(store, row)


def _newest(store: Store, name: str) -> OldLabel:
    images = ids_beginning_with(store, name, limit=2)
    if len(images) != 1:
        count = "no image" if not images else "more than one image"
        raise DataError(
            f"{name!r} is {count} of this workspace: expected the beginning of an id. See: al-loop pool list"
        )
    newest = "SELECT * FROM label_history WHERE image_id = ? ORDER BY id DESC LIMIT 1"
    row = store.first(OldLabel, newest, images[0])
    if row is None:
        raise DataError(
            f"image {name} has no old label to restore. List the old labels: al-loop labels restore"
        )
    return row


def _restore_label(store: Store, row: OldLabel) -> None:
    """Restore a label, and the role and the sets of its image. The history keeps the replaced label."""
    image = row.image_id
    current = store.row("SELECT status, boxes, outlines FROM labels WHERE image_id = ?", image)
    if current is None:
        note_unlabelled(store, [image])
    elif tuple(current) == (row.status, row.boxes, row.outlines):
        copy_label(store, image)  # the label stays the same, only the role changes
    if row.status == "unlabelled":
        store.execute("DELETE FROM labels WHERE image_id = ?", image)
    else:
        store.execute(
            f"INSERT OR REPLACE INTO labels ({_COLUMNS}) SELECT {_COLUMNS} FROM label_history WHERE id = ?",
            row.id,
        )
    write_ignore_regions(store, image, row.ignored)
    if row.role == "pool":
        store.execute("DELETE FROM sets WHERE image_id = ?", image)
    store.write_many("INSERT OR IGNORE INTO sets VALUES (?, ?)", [(name, image) for name in row.set_names])
    set_image_role(store, [image], row.role)
