"""Update the storages of a server whose folder was moved, or whose backup was restored elsewhere.

The server stores absolute paths of the folders that it may show. Its data folder records the image folder of
the last start. If that folder has changed, the paths of storages below it are updated.
"""

from __future__ import annotations

from pathlib import Path

from al_loop.labelling.client.client import STORAGE_TITLE, Connection

_PLACE_FILE = "place"


def record_place(data: Path, document_root: Path) -> None:
    """Record the folder whose files the server shows."""
    (data / _PLACE_FILE).write_text(str(document_root))


def update_storages(data: Path, connection: Connection, document_root: Path) -> None:
    """Update the storages of a running server if its folder was moved."""
    file = data / _PLACE_FILE
    before = file.read_text() if file.is_file() else "unknown"  # no storage has a path below this
    if before == str(document_root):
        return
    with connection.open() as api:
        for project in api.projects():
            for storage in api.storages("localfiles", project["id"]):
                old = Path(storage.get("path") or "")
                if not old.is_relative_to(before) or old.is_relative_to(document_root):
                    continue
                folder = document_root / old.relative_to(before)
                if storage.get("title") == STORAGE_TITLE:
                    # A backup contains no images: the next push links them.
                    folder.mkdir(parents=True, exist_ok=True)
                if folder.is_dir():
                    settings = {"project": project["id"], "path": str(folder)}
                    api.save_storage("localfiles", storage["id"], settings)
    record_place(data, document_root)
