"""Hashes of files that al-loop has written: lists, manifests, and each line of the journals of predictions."""

from __future__ import annotations

from collections.abc import Sequence

from al_loop.state.database.store import Store


def write_file_hash(store: Store, path: str, sha256: str) -> None:
    """Note what a file must be to be used; path: below the workspace."""
    store.execute("INSERT OR REPLACE INTO written_files VALUES (?, ?)", path, sha256)


def read_file_hash(store: Store, path: str) -> str | None:
    """Return what a file must be; None where that was not noted."""
    found = store.column("SELECT sha256 FROM written_files WHERE path = ?", path)
    return str(found[0]) if found else None


def journal_hashes(store: Store, folder: str) -> list[str]:
    """Return the hashes of the lines of a folder's journal, in order."""
    return store.column("SELECT sha256 FROM journals WHERE folder = ? ORDER BY line", folder)


def replace_journal(store: Store, folder: str, first: int, hashes: Sequence[str]) -> None:
    """Note the hashes of lines from number `first` on, and forget all behind them; within a transaction."""
    store.execute("DELETE FROM journals WHERE folder = ? AND line >= ?", folder, first)
    store.write_many(
        "INSERT INTO journals VALUES (?, ?, ?)",
        ((folder, number, sha256) for number, sha256 in enumerate(hashes, first)),
    )
