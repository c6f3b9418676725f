"""Rows of images: the file, the size and the role of each photograph."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from al_loop.state.database.store import Store

#: The index of the last image that has arrived, for use in other statements.
LAST_ARRIVED = "(SELECT coalesce(max(arrived), 0) FROM images)"
_NAMED = "id IN (SELECT value FROM json_each(?))"
_ARRIVED = "FROM images WHERE role = 'pool' AND arrived > ? AND (? IS NULL OR arrived <= ?) ORDER BY arrived"


@dataclass(frozen=True, slots=True)
class ImageRow:
    """A photograph.

    id: SHA-256 of the original file.
    file: path relative to the workspace, or a URL.
    stored_sha256: SHA-256 of the file in the workspace. It differs from `id` if the image was rotated or
        converted.
    width, height: px, as stored.
    source: path or URL of the original file.
    role: 'pool', or 'validation' for every evaluation set.
    arrived: 1, 2, ... in the order of arrival; 0 before it has arrived.
    """

    id: str
    file: str
    stored_sha256: str
    width: int
    height: int
    source: str
    role: str
    added_at: str
    arrived: int = 0


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A photograph with the status of its label: 'labelled', 'empty', 'skipped' or 'unlabelled'."""

    id: str
    width: int
    height: int
    role: str
    source: str
    status: str


def insert_images(store: Store, rows: Iterable[ImageRow]) -> None:
    """Add images, in the order of their arrival."""
    store.insert("images", rows, arrived=f"1 + {LAST_ARRIVED}")


def stream_images(store: Store) -> Iterator[ImageRow]:
    """Yield all images by id, one at a time."""
    return store.stream(ImageRow, "SELECT * FROM images ORDER BY id")


def find_images(store: Store, ids: Sequence[str], *, in_pool: bool = False) -> list[ImageRow]:
    """Return the images with these ids, in any order. in_pool: only images of the pool."""
    role = " AND role = 'pool'" if in_pool else ""
    return store.all(ImageRow, f"SELECT * FROM images WHERE {_NAMED}{role}", json.dumps(list(ids)))


def newest_images(store: Store, limit: int) -> list[ListedImage]:
    """Return images with the status of their labels, newest first. limit: 0 for all."""
    return store.all(
        ListedImage,
        "SELECT i.id, i.width, i.height, i.role, i.source, coalesce(l.status, 'unlabelled') AS status "
        "FROM images i LEFT JOIN labels l ON l.image_id = i.id ORDER BY i.rowid DESC LIMIT ?",
        limit or -1,
    )


def image_count(store: Store) -> int:
    """Return the number of all images."""
    return store.count("SELECT count(*) FROM images")


def pool_size(store: Store) -> int:
    """Return the number of images of the pool, labelled or not."""
    return store.count("SELECT count(*) FROM images WHERE role = 'pool'")


def last_arrived(store: Store) -> int:
    """Return the index of the last image that has arrived, or 0 without images."""
    return store.count(f"SELECT {LAST_ARRIVED}")


def pool_ids(store: Store, *, after: int = 0, until: int | None = None) -> list[str]:
    """Return images of the pool in the order of arrival. after, until: bounds of `arrived`."""
    return store.column(f"SELECT id {_ARRIVED}", after, until, until)


def pool_arrivals(store: Store, *, until: int) -> list[tuple[str, int]]:
    """Return (image, `arrived`) of the pool in the order of arrival. until: the last `arrived`."""
    return store.pairs(f"SELECT id, arrived {_ARRIVED}", 0, until, until)


def unlabelled_ids(store: Store) -> Iterator[str]:
    """Yield the images of the pool without a label, by id."""
    return store.stream_column(
        "SELECT id FROM images WHERE role = 'pool' AND id NOT IN (SELECT image_id FROM labels) ORDER BY id"
    )


def candidate_ids_of_cycle(
    store: Store, cycle: int, arrived: int, statuses: Collection[str]
) -> Iterator[str]:
    """Yield the candidates that a cycle had when it began, by id, as far as the database shows.

    arrived: index of the last image at that time.
    statuses: statuses of labels with which an image was a candidate.
    """
    return store.stream_column(
        "SELECT i.id FROM images i LEFT JOIN labels l ON l.image_id = i.id "
        "WHERE (i.role = 'pool' OR i.id IN (SELECT image_id FROM picks WHERE cycle = ? AND validation = 1)) "
        "AND i.arrived <= ? AND (l.image_id IS NULL OR l.cycle >= ? "
        "OR l.status IN (SELECT value FROM json_each(?))) ORDER BY i.id",
        *(cycle, arrived, cycle, json.dumps(sorted(statuses))),
    )


def unlabelled_since_last_cycle(store: Store) -> int:
    """Return the number of unlabelled images since the last cycle that was not abandoned."""
    return store.count(
        "SELECT count(*) FROM images i LEFT JOIN labels l ON l.image_id = i.id WHERE i.role = 'pool' "
        "AND l.image_id IS NULL AND i.arrived > "
        "(SELECT coalesce(max(arrived), 0) FROM cycles WHERE outcome IS NOT 'abandoned')"
    )


def image_role(store: Store, image_id: str) -> str | None:
    """Return 'pool' or 'validation', or None for an unknown image."""
    return store.text("SELECT role FROM images WHERE id = ?", image_id)


def set_image_role(store: Store, ids: Iterable[str], role: str) -> None:
    """Give images another role: 'pool' or 'validation'."""
    store.write_many("UPDATE images SET role = ? WHERE id = ?", ((role, name) for name in ids))


def set_image_file(store: Store, image_id: str, file: str) -> None:
    """Store the new path of an image."""
    store.execute("UPDATE images SET file = ? WHERE id = ?", file, image_id)


def validation_first(store: Store, ids: Collection[str]) -> list[str]:
    """Return the images in a fixed order: those of evaluation sets before those of the pool."""
    return store.column(
        f"SELECT id FROM images WHERE {_NAMED} ORDER BY role != 'validation', id", json.dumps(sorted(ids))
    )


def ids_beginning_with(store: Store, text: str, limit: int) -> list[str]:
    """Return up to `limit` ids that begin with a text."""
    return store.column("SELECT id FROM images WHERE substr(id, 1, ?) = ? LIMIT ?", len(text), text, limit)


def files_of_ids_between(store: Store, first: str, end: str) -> set[str]:
    """Return the files of images whose ids are at least `first` and less than `end`."""
    return set(store.column("SELECT file FROM images WHERE id >= ? AND id < ?", first, end))


def files_outside(store: Store) -> list[tuple[str, str]]:
    """Return (image, file) of the rows whose file lies outside images/, URLs included."""
    return store.pairs("SELECT id, file FROM images WHERE file NOT LIKE 'images/%' OR file LIKE '%/../%'")


def find_by_bytes(store: Store, original: str, stored: str) -> str | None:
    """Return the image whose original or stored file has one of these hashes."""
    return store.text(
        "SELECT id FROM images WHERE id IN (?, ?) UNION ALL "
        "SELECT id FROM images WHERE stored_sha256 IN (?, ?) AND stored_sha256 != id LIMIT 1",
        *(original, stored, original, stored),
    )


def validation_sizes(store: Store) -> set[tuple[int, int]]:
    """Return the sizes (width, height) of the images for evaluation."""
    return set(store.pairs("SELECT DISTINCT width, height FROM images WHERE role = 'validation'"))
