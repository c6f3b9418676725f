"""Update the storages of a server whose folder was moved, or whose backup was restored elsewhere.

The server keeps absolute paths of the folders that it may show. The folder of its data notes where the
images lay when it was started last; where that is another place now, the storages below the old one are
given the new one.
"""

from __future__ import annotations

from pathlib import Path

from al_loop.labelling.client.api import STORAGE_TITLE
from al_loop.labelling.client.client import Connection

_PLACE_FILE = "place"


def note_place(data: Path, document_root: Path) -> None:
    """Note in a server's data which folder's files it shows."""
    (data / _PLACE_FILE).write_text(str(document_root))


def follow(data: Path, connection: Connection, document_root: Path) -> None:
    """Update the storages of a running server after its folder was moved; asks the server only then."""
    noted = data / _PLACE_FILE
    # None: an older al-loop, which noted none, started it last.
    before = noted.read_text() if noted.is_file() else None
    if before == str(document_root):
        return
    with connection.open() as api:
        for project_id in api.project_ids():
            for storage in api.local_storages(project_id):
                folder = _moved(storage["path"] or "", before, document_root)
                if folder is None:
                    continue
                if storage.get("title") == STORAGE_TITLE:
                    # A backup holds no images: the next push links them.
                    folder.mkdir(parents=True, exist_ok=True)
                if folder.is_dir():
                    api.save_local_storage(storage["id"], project_id, folder)
    note_place(data, document_root)


def _moved(path: str, before: str | None, document_root: Path) -> Path | None:
    """Return where a storage's folder is now; None where it need not follow."""
    if Path(path).is_relative_to(document_root):
        return None
    if before is not None and Path(path).is_relative_to(before):
        return document_root / Path(path).relative_to(before)
    # <workspace>/label-studio/media/<folder>, wherever the workspace was
    old = Path(path)
    same = old.parent.parts[-2:] == document_root.parts[-2:] == ("label-studio", "media")
    return document_root / old.name if same else None
