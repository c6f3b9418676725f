"""Rows of the inbox: the files that `pool add` and the monitor have seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from al_loop.state.database.store import Store


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A file as it was when last seen.

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
    """Return the rows of the files named."""
    named = "path IN (SELECT value FROM json_each(?))"
    return store.all(InboxRow, f"SELECT * FROM inbox WHERE {named}", json.dumps(list(paths)))


def write_seen(store: Store, row: InboxRow) -> None:
    """Store a file; an older row is replaced."""
    store.insert("inbox", [row], "REPLACE")
