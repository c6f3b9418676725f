"""Fingerprints of images, which are alike for near-duplicates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from al_loop.state.database.store import Store


def write_fingerprints(store: Store, rows: Iterable[tuple[str, int]]) -> None:
    """Store fingerprints: (image, its 64 bits as a signed integer)."""
    store.write_many("INSERT OR REPLACE INTO fingerprints VALUES (?, ?)", rows)


def without_fingerprint(store: Store, ids: Sequence[str]) -> list[str]:
    """Return those of the images that have no fingerprint, in any order."""
    known = "SELECT image_id FROM fingerprints"
    return store.column(f"SELECT value FROM json_each(?) WHERE value NOT IN ({known})", json.dumps(list(ids)))


def read_fingerprints(store: Store, ids: Sequence[str]) -> dict[str, int]:
    """Return the fingerprints of images that have one."""
    return dict(
        store.pairs(
            "SELECT image_id, bits FROM fingerprints WHERE image_id IN (SELECT value FROM json_each(?))",
            json.dumps(list(ids)),
        )
    )
