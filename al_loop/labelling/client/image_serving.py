"""How the annotator's browser gets the images.

LocalFiles is for a server on this machine, Upload for any other; S3Objects (s3.py) for a team with an object store.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from al_loop.core.errors import LabelStudioError
from al_loop.labelling.client.api import STORAGE_TITLE, Api
from al_loop.labelling.client.task import OutgoingTask

_LOCAL_FILES = "/data/local-files/?d="
# The server reads a whole request into memory and refuses one above 250 MB or 100 files.
_UPLOAD_FILES = 25
_UPLOAD_BYTES = 50_000_000


class ImageServing(Protocol):
    """Makes images visible to the browser."""

    def publish(self, api: Api, project_id: int, tasks: Sequence[OutgoingTask]) -> dict[str, str]:
        """Return the value of `image` in a task's data, by the task's key; a repeat changes nothing."""
        ...

    def kind(self, api: Api, project_id: int, url: str) -> str:
        """Ask for an image as a browser will, and return the content type of the answer.

        Raises LabelStudioError, with the reason, where a browser would not get it.
        """
        ...


@dataclass(frozen=True)
class LocalFiles:
    """Hard-link images below the server's document root, one folder per project.

    Only what lies in that folder can be seen: never the workspace's own image folder, never a
    symbolic link. Copies where the folder is on another file system.
    """

    document_root: Path

    def publish(self, api: Api, project_id: int, tasks: Sequence[OutgoingTask]) -> dict[str, str]:
        """Link the files and allow the server to show their folder."""
        root = self.document_root.absolute()
        folder = root / f"project-{project_id}"
        folder.mkdir(parents=True, exist_ok=True)
        urls = {}
        for task in tasks:
            target = folder / stored_name(task)
            _link(task, target)
            urls[task.key] = _LOCAL_FILES + quote(target.relative_to(root).as_posix())
        _let_in(api, project_id, folder)
        return urls

    def kind(self, api: Api, project_id: int, url: str) -> str:
        """The server shows the file itself."""
        return api.image_type(url)


@dataclass(frozen=True)
class Upload:
    """Upload images to a server on another machine; those already there are not sent again."""

    def publish(self, api: Api, project_id: int, tasks: Sequence[OutgoingTask]) -> dict[str, str]:
        """Upload what is missing, in pieces."""
        files = {stored_name(task): task.image_path for task in tasks}
        there = _uploaded(api, project_id)
        for piece in _pieces({name: path for name, path in files.items() if name not in there}):
            api.upload(project_id, piece)
        there = _uploaded(api, project_id)
        missing = sorted(name for name in files if name not in there)
        if missing:
            raise LabelStudioError(
                f"{len(missing)} images were uploaded but are not there, first {missing[0]}"
            )
        return {task.key: "/data/" + quote(there[stored_name(task)]) for task in tasks}

    def kind(self, api: Api, project_id: int, url: str) -> str:
        """The server shows what was uploaded."""
        return api.image_type(url)


def stored_name(task: OutgoingTask) -> str:
    """Return the name under which an image is stored: by its content, so that it is stored once."""
    # The server shortens paths above 100 characters, its own prefix included: half a hash is plenty.
    return task.image_id[:32] + task.image_path.suffix.lower()


def _link(task: OutgoingTask, target: Path) -> None:
    try:
        source = task.image_path.resolve(strict=True)
        if target.exists() and target.stat().st_size == source.stat().st_size:
            return
        partial = target.with_name(target.name + ".partial")
        partial.unlink(missing_ok=True)
        try:
            os.link(source, partial)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(source, partial)
        partial.replace(target)
    except OSError as error:
        raise LabelStudioError(
            f"cannot show {task.file_name} ({task.image_path}) to annotators: {error}"
        ) from error


def _let_in(api: Api, project_id: int, folder: Path) -> None:
    """Allow the server to show a folder. A storage of ours that names another place is of before a move: it follows."""
    there = api.local_storages(project_id)
    if any(storage["path"] and Path(storage["path"]) == folder for storage in there):
        return
    ours = [storage for storage in there if storage.get("title") == STORAGE_TITLE]
    api.save_local_storage(ours[0]["id"] if ours else None, project_id, folder)


def _uploaded(api: Api, project_id: int) -> dict[str, str]:
    """Return the uploaded files by the name we gave: the server puts ``upload/1/<8 hex>-`` before it."""
    return {path.rpartition("/")[2].partition("-")[2]: path for path in api.uploads(project_id)}


def _pieces(files: dict[str, Path]) -> list[dict[str, Path]]:
    pieces: list[dict[str, Path]] = []
    size = 0
    for name, path in files.items():
        try:
            length = path.stat().st_size
        except OSError as error:
            raise LabelStudioError(f"cannot upload {path}: {error}") from error
        if not pieces or len(pieces[-1]) >= _UPLOAD_FILES or size + length > _UPLOAD_BYTES:
            pieces.append({})
            size = 0
        pieces[-1][name] = path
        size += length
    return pieces
