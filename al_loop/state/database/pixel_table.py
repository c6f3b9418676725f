"""Hashes of decoded pixels, by which the same picture is found in another encoding."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence

from al_loop.state.database.store import Store

_COMPARED = "SELECT image_id FROM pixels WHERE source = 'stored'"


def write_pixels(store: Store, rows: Iterable[tuple[str, str, str]]) -> None:
    """Remember hashes: (image, 'stored' or 'original', hash)."""
    store.write_many("INSERT OR REPLACE INTO pixels VALUES (?, ?, ?)", rows)


def images_with_pixels(store: Store, hashes: Collection[str], *, validation: bool) -> dict[str, list[str]]:
    """Return the images by the hash of their pixels, those that models are judged on first.

    validation: only these.
    """
    rows = store.rows(
        "SELECT DISTINCT p.sha256, p.image_id, i.role FROM json_each(?) h CROSS JOIN pixels p ON p.sha256 = h.value "
        "JOIN images i ON i.id = p.image_id WHERE i.role = 'validation' OR NOT ? "
        "ORDER BY i.role != 'validation', p.image_id",
        *(json.dumps(sorted(hashes)), validation),
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["sha256"], []).append(row["image_id"])
    return found


def unhashed_of_sizes(store: Store, sizes: Collection[tuple[int, int]], *, validation: bool) -> list[str]:
    """Return the images of these sizes whose stored pixels have no hash; validation: that models are judged on."""
    return store.column(
        "SELECT i.id FROM json_each(?) s CROSS JOIN images i ON i.width = s.value ->> 0 AND i.height = s.value ->> 1 "
        "WHERE (i.role = 'validation' OR NOT ?) "
        "AND NOT EXISTS (SELECT 1 FROM pixels p WHERE p.image_id = i.id AND p.source = 'stored')",
        *(json.dumps(sorted(sizes)), validation),
    )


def unhashed(store: Store, ids: Sequence[str]) -> list[str]:
    """Return those of the images whose stored pixels have no hash."""
    return store.column(
        f"SELECT value FROM json_each(?) WHERE value NOT IN ({_COMPARED})", json.dumps(list(ids))
    )


def copies_of_validation(store: Store, ids: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Return (image of the pool, image that models are judged on) with the same pixels; ids: of these images only."""
    rows = store.rows(
        "SELECT DISTINCT p.image_id AS pool, j.image_id AS judged FROM images ji JOIN pixels j ON j.image_id = ji.id "
        "JOIN pixels p ON p.sha256 = j.sha256 JOIN images pi ON pi.id = p.image_id "
        "WHERE ji.role = 'validation' AND pi.role = 'pool' "
        "AND (? IS NULL OR p.image_id IN (SELECT value FROM json_each(?))) ORDER BY p.image_id",
        *(2 * (None if ids is None else json.dumps(list(ids)),)),
    )
    return [(row["pool"], row["judged"]) for row in rows]


def byte_copies_of_validation(store: Store) -> list[tuple[str, str]]:
    """Return (image of the pool, image that models are judged on) whose stored files are the same."""
    rows = store.rows(
        "SELECT p.id AS pool, j.id AS judged FROM images j JOIN images p ON p.stored_sha256 = j.stored_sha256 "
        "WHERE j.role = 'validation' AND p.role = 'pool' ORDER BY p.id"
    )
    return [(row["pool"], row["judged"]) for row in rows]


def validation_pixels(store: Store) -> dict[str, str]:
    """Return the images that models are judged on by the hash of their pixels."""
    rows = store.rows(
        "SELECT sha256, image_id FROM pixels p JOIN images i ON i.id = p.image_id WHERE i.role = 'validation'"
    )
    return {row["sha256"]: row["image_id"] for row in rows}


def never_hashed(store: Store, role: str) -> Iterator[tuple[str, str]]:
    """Yield (image, file) without any hash, by id; of the pool those that have the size of a judged image."""
    sized = "(width, height) IN (SELECT width, height FROM images WHERE role = 'validation')"
    rows = store.execute(
        f"SELECT id, file FROM images WHERE role = ? AND {sized} "
        "AND id NOT IN (SELECT image_id FROM pixels) ORDER BY id",
        role,
    )
    return ((row["id"], row["file"]) for row in rows)
