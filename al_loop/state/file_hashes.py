"""Expected hashes of files in the database: of lists and manifests, and of each line of a journal.

A journal lists the written bytes with a checksum per column. Columns and journal can be changed together.
Therefore a line whose hash is not in the database is ignored, and its images are predicted again.
"""

from __future__ import annotations

from pathlib import Path

from al_loop.state.database.file_hash_table import JournalHashes, read_file_hash, write_file_hash
from al_loop.state.prediction_store import ShardStore
from al_loop.state.workspace import Workspace


def note_file(workspace: Workspace, path: Path, sha256: str) -> None:
    """Store the expected hash of a file of the workspace."""
    write_file_hash(workspace.store, str(path.relative_to(workspace.root)), sha256)


def noted_file(workspace: Workspace, path: Path) -> str | None:
    """Return the expected hash of a file of the workspace. None if none is stored."""
    return read_file_hash(workspace.store, str(path.relative_to(workspace.root)))


def shards_in(workspace: Workspace, folder: Path) -> ShardStore:
    """Return the predictions in a folder. In a workspace, the database holds their expected hashes."""
    if not folder.is_relative_to(workspace.root):
        return ShardStore(folder)
    return ShardStore(folder, JournalHashes(workspace.store, str(folder.relative_to(workspace.root))))
