"""Rows of images: where each photograph lies, its size, whether it is in the pool."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from al_loop.state.database.store import Store

#: The index of the last image that has arrived, for use in other statements.
LAST_ARRIVED = "(SELECT coalesce(max(arrived), 0) FROM images)"
_NAMED = "id IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class NewImage:
    """A photograph before it has arrived.

    id: SHA-256 of the file as it came in.
    file: below the workspace, or a URL.
    stored_sha256: of the file in the workspace; another than `id` where it was turned or converted.
    width, height: px, as stored.
    source: path or URL that it came from.
    role: 'pool', or 'validation' for every set that models are judged on.
    """

    id: str
    file: str
    stored_sha256: str
    width: int
    height: int
    source: str
    role: str
    added_at: str


@dataclass(frozen=True, slots=True)
class ImageRow(NewImage):
    """A photograph.

    arrived: 1, 2, ... in the order of arrival.
    """

    arrived: int


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A photograph with the status of its label: 'labelled', 'empty', 'skipped' or 'unlabelled'."""

    id: str
    width: int
    height: int
    role: str
    source: str
    status: str


def insert_images(store: Store, rows: Iterable[NewImage]) -> None:
    """Add images, in the order of their arrival."""
    store.write_many(
        "INSERT INTO images (id, file, stored_sha256, width, height, source, role, added_at, arrived) "
        f"VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1 + {LAST_ARRIVED})",
        ((r.id, r.file, r.stored_sha256, r.width, r.height, r.source, r.role, r.added_at) for r in rows),
    )


def stream_images(store: Store) -> Iterator[ImageRow]:
    """Yield all images by id, one at a time."""
    return store.stream(ImageRow, "SELECT * FROM images ORDER BY id")


def find_images(store: Store, ids: Sequence[str], *, in_pool: bool = False) -> list[ImageRow]:
    """Return the images named, in any order; in_pool: those of them that are in the pool."""
    role = " AND role = 'pool'" if in_pool else ""
    return store.all(ImageRow, f"SELECT * FROM images WHERE {_NAMED}{role}", json.dumps(list(ids)))


def newest_images(store: Store, limit: int) -> list[ListedImage]:
    """Return images with the status of their labels, the newest first; limit: how many, 0 for all."""
    return store.all(
        ListedImage,
        "SELECT i.id, i.width, i.height, i.role, i.source, coalesce(l.status, 'unlabelled') AS status "
        "FROM images i LEFT JOIN labels l ON l.image_id = i.id ORDER BY i.rowid DESC LIMIT ?",
        limit or -1,
    )


def image_count(store: Store) -> int:
    """Return how many images there are."""
    return store.count("SELECT count(*) FROM images")


def pool_size(store: Store) -> int:
    """Return how many images the pool holds, labelled or not."""
    return store.count("SELECT count(*) FROM images WHERE role = 'pool'")


def last_arrived(store: Store) -> int:
    """Return the index of the last image that has arrived, 0 without any."""
    return store.count(f"SELECT {LAST_ARRIVED}")


def pool_ids(store: Store, *, after: int = 0, until: int | None = None) -> list[str]:
    """Return images of the pool in the order of arrival; after, until: bounds of `arrived`."""
    return store.column(
        "SELECT id FROM images WHERE role = 'pool' AND arrived > ? AND (? IS NULL OR arrived <= ?) ORDER BY arrived",
        *(after, until, until),
    )


def pool_arrivals(store: Store, until: int) -> list[tuple[str, int]]:
    """Return (image, `arrived`) of the pool in the order of arrival; until: the last `arrived`."""
    rows = store.rows(
        "SELECT id, arrived FROM images WHERE role = 'pool' AND arrived <= ? ORDER BY arrived", until
    )
    return [(row["id"], row["arrived"]) for row in rows]


def unlabelled_ids(store: Store) -> Iterator[str]:
    """Yield the images of the pool without a label, by id."""
    rows = store.execute(
        "SELECT id FROM images WHERE role = 'pool' AND id NOT IN (SELECT image_id FROM labels) ORDER BY id"
    )
    return (name for (name,) in rows)


def candidate_ids_then(store: Store, cycle: int, arrived: int, also: Collection[str]) -> Iterator[str]:
    """Yield the candidates of a cycle when it began, by id, as far as that is known.

    arrived: the last image then.
    also: statuses of labels with which an image was a candidate.
    """
    rows = store.execute(
        "SELECT i.id FROM images i LEFT JOIN labels l ON l.image_id = i.id WHERE i.role = 'pool' AND i.arrived <= ? "
        "AND (l.image_id IS NULL OR l.cycle >= ? OR l.status IN (SELECT value FROM json_each(?))) ORDER BY i.id",
        *(arrived, cycle, json.dumps(sorted(also))),
    )
    return (name for (name,) in rows)


def unlabelled_since_last_cycle(store: Store) -> int:
    """Return how many images without a label have arrived since the last cycle began; an abandoned one is none."""
    return store.count(
        "SELECT count(*) FROM images i LEFT JOIN labels l ON l.image_id = i.id WHERE i.role = 'pool' "
        "AND l.image_id IS NULL AND i.arrived > "
        "(SELECT coalesce(max(arrived), 0) FROM cycles WHERE outcome IS NOT 'abandoned')"
    )


def image_role(store: Store, image_id: str) -> str | None:
    """Return 'pool' or 'validation', None for an image that is not known."""
    roles = store.column("SELECT role FROM images WHERE id = ?", image_id)
    return roles[0] if roles else None


def set_image_role(store: Store, ids: Iterable[str], role: str) -> None:
    """Give images another role: 'pool' or 'validation'."""
    store.write_many("UPDATE images SET role = ? WHERE id = ?", ((role, name) for name in ids))


def set_image_file(store: Store, image_id: str, file: str) -> None:
    """Note where a photograph lies now."""
    store.execute("UPDATE images SET file = ? WHERE id = ?", file, image_id)


def validation_first(store: Store, ids: Collection[str]) -> list[str]:
    """Return the images in a fixed order, those that models are judged on before those of the pool."""
    return store.column(
        f"SELECT id FROM images WHERE {_NAMED} ORDER BY role != 'validation', id", json.dumps(sorted(ids))
    )


def ids_beginning_with(store: Store, text: str, limit: int) -> list[str]:
    """Return ids that begin with a text."""
    return store.column("SELECT id FROM images WHERE substr(id, 1, ?) = ? LIMIT ?", len(text), text, limit)


def files_of_ids_between(store: Store, first: str, end: str) -> set[str]:
    """Return the files of images whose ids are at least `first` and less than `end`."""
    return set(store.column("SELECT file FROM images WHERE id >= ? AND id < ?", first, end))


def files_outside(store: Store) -> list[tuple[str, str]]:
    """Return (image, file) of the rows whose file does not lie in images/; URLs are among them."""
    rows = store.rows("SELECT id, file FROM images WHERE file NOT LIKE 'images/%' OR file LIKE '%/../%'")
    return [(row["id"], row["file"]) for row in rows]


def find_by_bytes(store: Store, came: str, stored: str) -> str | None:
    """Return the image that is known by the hash of a file as it came, or as it would be stored."""
    found = store.column(
        "SELECT id FROM images WHERE id IN (?, ?) UNION ALL "
        "SELECT id FROM images WHERE stored_sha256 IN (?, ?) AND stored_sha256 != id LIMIT 1",
        *(came, stored, came, stored),
    )
    return str(found[0]) if found else None


def validation_sizes(store: Store) -> set[tuple[int, int]]:
    """Return the sizes (width, height) of the images that models are judged on."""
    rows = store.rows("SELECT DISTINCT width, height FROM images WHERE role = 'validation'")
    return {(row["width"], row["height"]) for row in rows}
