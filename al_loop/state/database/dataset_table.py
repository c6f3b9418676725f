"""Rows of datasets: the rendered sets below synthetic/."""

from __future__ import annotations

from dataclasses import dataclass

from al_loop.state.database.store import Store


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A rendered set. name: name of its folder. images: number of images."""

    name: str
    recipe: str
    images: int
    created_at: str


def write_dataset(store: Store, row: DatasetRow) -> None:
    """Store a rendered set. Replace the one with the same name."""
    store.insert("datasets", [row], "REPLACE")


def all_datasets(store: Store) -> list[DatasetRow]:
    """Return all rendered sets by name."""
    return store.all(DatasetRow, "SELECT * FROM datasets ORDER BY name")


def rendered_count(store: Store) -> int:
    """Return the number of rendered images."""
    return store.count("SELECT coalesce(sum(images), 0) FROM datasets")
