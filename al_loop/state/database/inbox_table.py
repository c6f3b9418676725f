"""Rows of the inbox: the files that `pool add` and the monitor have seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from al_loop.state.database.store import Store


@dataclass(frozen=True, slots=True)
class InboxRow:
    """A file as it was when last seen.

    path: path or URL.
    size, stamp: a file with another pair counts as a new file.
    state: 'waiting', 'taken' or 'refused'.
    note: reason for the refusal.
    """

    path: str
    size: int
    stamp: str
    state: str
    note: str
    seen_at: str


def find_seen(store: Store, paths: Sequence[str]) -> list[InboxRow]:
    """Return the rows of these files."""
    named = "path IN (SELECT value FROM json_each(?))"
    return store.all(InboxRow, f"SELECT * FROM inbox WHERE {named}", json.dumps(list(paths)))


def write_seen(store: Store, row: InboxRow) -> None:
    """Store a file. Replace an older row."""
    store.insert("inbox", [row], "REPLACE")
