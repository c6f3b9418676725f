"""Which workspaces this user made here or approved of: only in these is Python that they name executed.

One small file per workspace in the user's state folder ($AL_LOOP_STATE). A workspace is known by its random mark and by the
number of its database's file: a copy, an archive that was unpacked, or a folder from elsewhere is another one.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from al_loop.core.errors import WorkspaceError
from al_loop.core.files import state_dir, write_json


def approve(database: Path, mark: str) -> None:
    """Note a workspace by its database and mark; WorkspaceError where the state folder cannot be written."""
    note = _note(database, mark)
    try:
        note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(
            note, {"root": str(database.parent), "at": datetime.now(UTC).isoformat(timespec="seconds")}
        )
    except OSError as error:
        raise WorkspaceError(
            f"{note.parent} cannot be written ({error.strerror}): what you approve of is noted there. "
            "Name another folder: AL_LOOP_STATE=FOLDER"
        ) from None


def is_approved(database: Path, mark: str) -> bool:
    """Say whether a workspace was noted."""
    return database.is_file() and _note(database, mark).is_file()


def _note(database: Path, mark: str) -> Path:
    name = hashlib.sha256(f"{mark}\n{database.stat().st_ino}".encode()).hexdigest()
    return state_dir() / "workspaces" / f"{name}.json"
