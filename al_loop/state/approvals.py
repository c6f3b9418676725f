"""Record the workspaces that this user made here or approved. Only these may execute Python code they name.

The user's state folder ($AL_LOOP_STATE) holds one small file per workspace. A workspace is identified by its
random mark and the inode of its database. A copy, an unpacked archive or a foreign folder is another
workspace.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from al_loop.core.errors import WorkspaceError
from al_loop.core.files import state_dir, write_json


def approve(database: Path, mark: str) -> None:
    """Record the approval of a workspace. Raises WorkspaceError for a read-only state folder."""
    record = _record(database, mark)
    try:
        record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(record, {"root": str(database.parent), "at": at})
    except OSError as error:
        raise WorkspaceError(
            f"{record.parent} cannot be written ({error.strerror}): approvals are stored there. "
            "Choose another folder: AL_LOOP_STATE=FOLDER"
        ) from None


def is_approved(database: Path, mark: str) -> bool:
    """Whether a workspace is approved."""
    return database.is_file() and _record(database, mark).is_file()


def _record(database: Path, mark: str) -> Path:
    name = hashlib.sha256(f"{mark}\n{database.stat().st_ino}".encode()).hexdigest()
    return state_dir() / "workspaces" / f"{name}.json"
