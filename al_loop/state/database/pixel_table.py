"""Hashes of decoded pixels, which identify the same image in another encoding."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence

from al_loop.state.database.store import Store


def write_pixels(store: Store, rows: Iterable[tuple[str, str, str]]) -> None:
    """Store hashes: (image, 'stored' or 'original', hash)."""
    store.write_many("INSERT OR REPLACE INTO pixels VALUES (?, ?, ?)", rows)


def images_with_pixels(store: Store, hashes: Collection[str], *, validation: bool) -> dict[str, list[str]]:
    """Return the images by the hash of their pixels, evaluation images first. validation: only these."""
    pairs = store.pairs(
        "SELECT DISTINCT p.sha256, p.image_id FROM json_each(?) h CROSS JOIN pixels p ON p.sha256 = h.value "
        "JOIN images i ON i.id = p.image_id WHERE i.role = 'validation' OR NOT ? "
        "ORDER BY i.role != 'validation', p.image_id",
        *(json.dumps(sorted(hashes)), validation),
    )
    images: dict[str, list[str]] = {}
    for sha256, image in pairs:
        images.setdefault(sha256, []).append(image)
    return images


def unhashed_of_sizes(store: Store, sizes: Collection[tuple[int, int]], *, validation: bool) -> list[str]:
    """Return images of these sizes whose stored pixels have no hash. validation: only evaluation images."""
    return store.column(
        "SELECT i.id FROM json_each(?) s "
        "CROSS JOIN images i ON i.width = s.value ->> 0 AND i.height = s.value ->> 1 "
        "WHERE (i.role = 'validation' OR NOT ?) "
        "AND NOT EXISTS (SELECT 1 FROM pixels p WHERE p.image_id = i.id AND p.source = 'stored')",
        *(json.dumps(sorted(sizes)), validation),
    )


def unhashed(store: Store, ids: Sequence[str]) -> list[str]:
    """Return those of the images whose stored pixels have no hash."""
    hashed = "SELECT image_id FROM pixels WHERE source = 'stored'"
    return store.column(
        f"SELECT value FROM json_each(?) WHERE value NOT IN ({hashed})", json.dumps(list(ids))
    )


def copies_of_validation(store: Store, ids: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Return (pool image, evaluation image) with the same pixels. ids: only of these pool images."""
    named = None if ids is None else json.dumps(list(ids))
    return store.pairs(
        "SELECT DISTINCT p.image_id, j.image_id FROM images ji JOIN pixels j ON j.image_id = ji.id "
        "JOIN pixels p ON p.sha256 = j.sha256 JOIN images pi ON pi.id = p.image_id "
        "WHERE ji.role = 'validation' AND pi.role = 'pool' "
        "AND (? IS NULL OR p.image_id IN (SELECT value FROM json_each(?))) ORDER BY p.image_id",
        *(named, named),
    )


def byte_copies_of_validation(store: Store) -> list[tuple[str, str]]:
    """Return (pool image, evaluation image) with the same stored file."""
    return store.pairs(
        "SELECT p.id, j.id FROM images j JOIN images p ON p.stored_sha256 = j.stored_sha256 "
        "WHERE j.role = 'validation' AND p.role = 'pool' ORDER BY p.id"
    )


def validation_pixels(store: Store) -> dict[str, str]:
    """Return the evaluation images by the hash of their pixels."""
    images = "pixels p JOIN images i ON i.id = p.image_id"
    return dict(store.pairs(f"SELECT sha256, image_id FROM {images} WHERE i.role = 'validation'"))


def never_hashed(store: Store, role: str) -> Iterator[tuple[str, str]]:
    """Yield (image, file) by id of images without a hash that have the size of an evaluation image."""
    rows = store.execute(
        "SELECT id, file FROM images WHERE role = ? "
        "AND (width, height) IN (SELECT width, height FROM images WHERE role = 'validation') "
        "AND id NOT IN (SELECT image_id FROM pixels) ORDER BY id",
        role,
    )
    return ((image, file) for image, file in rows)
