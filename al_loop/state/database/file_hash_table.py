"""Hashes of files that al-loop has written: lists, manifests, and each line of a journal of predictions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from al_loop.state.database.store import Store


def write_file_hash(store: Store, path: str, sha256: str) -> None:
    """Store the expected hash of a file. path: relative to the workspace."""
    store.execute("INSERT OR REPLACE INTO written_files VALUES (?, ?)", path, sha256)


def read_file_hash(store: Store, path: str) -> str | None:
    """Return the expected hash of a file. None if none is stored."""
    return store.text("SELECT sha256 FROM written_files WHERE path = ?", path)


@dataclass(frozen=True)
class JournalHashes:
    """The expected hashes of the lines of one folder's journal. folder: relative to the workspace."""

    store: Store
    folder: str

    def read(self) -> list[str]:
        """Return the SHA-256 of each line, in order. Empty if none is stored."""
        return self.store.column("SELECT sha256 FROM journals WHERE folder = ? ORDER BY line", self.folder)

    def replace(self, first: int, lines: Sequence[bytes]) -> None:
        """Store the hashes of lines, the first of which has number `first`.

        Delete those of all later lines.
        """
        hashes = [hashlib.sha256(line).hexdigest() for line in lines]
        with nullcontext() if self.store.connection.in_transaction else self.store.transaction():
            self.store.execute("DELETE FROM journals WHERE folder = ? AND line >= ?", self.folder, first)
            self.store.write_many(
                "INSERT INTO journals VALUES (?, ?, ?)",
                ((self.folder, number, sha256) for number, sha256 in enumerate(hashes, first)),
            )
