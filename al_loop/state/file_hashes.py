"""What the database knows of files: the hashes of lists and manifests, and of each line of the journals of predictions.

A journal says which bytes were written, with a checksum of each column. Columns and journal can be changed together; what the
database does not vouch for is not there, and is predicted again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from al_loop.state.database.file_hash_table import (
    journal_hashes,
    read_file_hash,
    replace_journal,
    write_file_hash,
)
from al_loop.state.database.store import Store
from al_loop.state.prediction_store import ShardStore
from al_loop.state.workspace import Workspace


@dataclass(frozen=True)
class DatabaseLedger:
    """The lines of one folder's journal. folder: below the workspace."""

    store: Store
    folder: str

    def noted(self) -> list[str]:
        """Return the hashes of the lines, in order; none where nobody has noted any."""
        return journal_hashes(self.store, self.folder)

    def note(self, first: int, lines: Sequence[bytes]) -> None:
        """Note lines from number `first` on, and forget all behind them."""
        with nullcontext() if self.store.connection.in_transaction else self.store.transaction():
            replace_journal(
                self.store, self.folder, first, [hashlib.sha256(line).hexdigest() for line in lines]
            )


def note_file(workspace: Workspace, path: Path, sha256: str) -> None:
    """Remember what a file of the workspace must be to be used."""
    write_file_hash(workspace.store, str(path.relative_to(workspace.root)), sha256)


def noted_file(workspace: Workspace, path: Path) -> str | None:
    """Return what a file of the workspace must be; None where nobody has noted it."""
    return read_file_hash(workspace.store, str(path.relative_to(workspace.root)))


def shards_in(workspace: Workspace, folder: Path) -> ShardStore:
    """Return the predictions in a folder, as far as the database of the workspace vouches for them."""
    if not folder.is_relative_to(workspace.root):
        return ShardStore(folder)
    return ShardStore(folder, DatabaseLedger(workspace.store, str(folder.relative_to(workspace.root))))
