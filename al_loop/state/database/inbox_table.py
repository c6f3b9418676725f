"""Rows of the inbox: the files that were seen by `pool add` and by the monitor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from al_loop.state.database.store import Store


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A file as it was seen last.

    path: or URL.
    size, stamp: another pair is another file.
    state: 'waiting', 'taken' or 'refused'.
    note: why it was refused.
    """

    path: str
    size: int
    stamp: str
    state: str
    note: str
    seen_at: str


def find_seen(store: Store, paths: Sequence[str]) -> list[InboxRow]:
    """Return what is known of the files named."""
    return store.all(
        InboxRow,
        "SELECT * FROM inbox WHERE path IN (SELECT value FROM json_each(?))",
        json.dumps(list(paths)),
    )


def write_seen(store: Store, row: InboxRow) -> None:
    """Remember a file."""
    store.execute(
        "INSERT OR REPLACE INTO inbox VALUES (?, ?, ?, ?, ?, ?)",
        *(row.path, row.size, row.stamp, row.state, row.note, row.seen_at),
    )
