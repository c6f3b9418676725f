"""Restore labels that were replaced or taken back. Triggers of the database record them."""

from __future__ import annotations

from collections.abc import Sequence

from al_loop.core.errors import DataError
from al_loop.state.database import label_history_table
from al_loop.state.database.image_table import ids_beginning_with
from al_loop.state.database.label_history_table import OldLabel, replacing
from al_loop.state.workspace import Workspace


def restore(workspace: Workspace, names: Sequence[str], *, last: bool = False) -> list[OldLabel]:
    """Restore the newest old label of each image, with the role that the image had; return these labels.

    names: ids of images, or their beginnings as `pool list` shows them.
    last: instead, restore all labels that the last command replaced.
    The labels that this replaces can be restored in turn.
    Raises DataError, before anything is changed, for an image that has no old label.
    """
    store = workspace.store
    if last == bool(names):
        raise DataError("expected either images or --last. See what there is: al-loop pool restore-labels")
    if last:
        rows = label_history_table.labels_before_last_batch(store)
        if not rows:
            raise DataError(
                "no command has replaced labels. See what pulls have: al-loop pool restore-labels"
            )
    else:
        rows = [_newest(workspace, name) for name in dict.fromkeys(names)]
    with store.transaction(), replacing(store, "pool restore-labels"):
        for row in rows:
            label_history_table.put_back(store, row)
    return rows


def _newest(workspace: Workspace, name: str) -> OldLabel:
    images = ids_beginning_with(workspace.store, name, limit=2)
    if len(images) != 1:
        count = "no image" if not images else "more than one image"
        raise DataError(
            f"{name!r} is {count} of this workspace: expected the beginning of an id. See: al-loop pool list"
        )
    row = label_history_table.newest_old_label(workspace.store, images[0])
    if row is None:
        raise DataError(
            f"image {name} has no other label than the one it has. See: al-loop pool restore-labels"
        )
    return row
