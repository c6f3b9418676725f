"""Ways in which an annotator's browser gets the images.

LocalFiles: for a server on this machine. Upload: for any other. S3Objects (s3.py): for an object store.
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
from al_loop.labelling.client.client import STORAGE_TITLE, Api
from al_loop.labelling.client.responses import Json
from al_loop.labelling.client.task import OutgoingTask

_LOCAL_FILES = "/data/local-files/?d="
# The server reads a whole request into memory, and refuses requests of more than 250 MB or 100 files.
_UPLOAD_FILES = 25
_UPLOAD_BYTES = 50_000_000
#: Settings of a storage whose *Sync* button creates no tasks: the filter matches no file.
STORAGE_SETTINGS: Json = {"title": STORAGE_TITLE, "use_blob_urls": True, "regex_filter": "(?!)"}


class ImageServing(Protocol):
    """A way to make images visible to the browser."""

    def publish(self, api: Api, project_id: int, tasks: Sequence[OutgoingTask]) -> dict[str, str]:
        """Publish images; return the value of `image` in a task's data, by task key. Safe to repeat."""
        ...

    def content_type(self, api: Api, project_id: int, url: str) -> str:
        """Request an image as a browser does; return its content type. Raises LabelStudioError."""
        ...


class _ServedByServer:
    """Images that the labelling server itself serves."""

    def content_type(self, api: Api, project_id: int, url: str) -> str:
        """Return the content type of an image."""
        return api.image_type(url)


@dataclass(frozen=True)
class LocalFiles(_ServedByServer):
    """Hard-link images below the server's document root, one folder per project.

    Only the files of that folder are visible: neither the image folder of the workspace nor symbolic links.
    Images are copied if the folder is on another file system.
    """

    document_root: Path

    def publish(self, api: Api, project_id: int, tasks: Sequence[OutgoingTask]) -> dict[str, str]:
        """Link the files and give the server access to their folder."""
        root = self.document_root.absolute()
        folder = root / f"project-{project_id}"
        folder.mkdir(parents=True, exist_ok=True)
        urls = {}
        for task in tasks:
            target = folder / stored_name(task)
            _link_image(task, target)
            urls[task.key] = _LOCAL_FILES + quote(target.relative_to(root).as_posix())
        _give_access(api, project_id, folder)
        return urls


@dataclass(frozen=True)
class Upload(_ServedByServer):
    """Upload images to a server on another machine, each image once."""

    def publish(self, api: Api, project_id: int, tasks: Sequence[OutgoingTask]) -> dict[str, str]:
        """Upload missing images, several per request."""
        files = {stored_name(task): task.image_path for task in tasks}
        uploaded = _uploaded_files(api, project_id)
        for piece in _upload_batches({name: path for name, path in files.items() if name not in uploaded}):
            api.upload(project_id, piece)
        uploaded = _uploaded_files(api, project_id)
        missing = sorted(files.keys() - uploaded.keys())
        if missing:
            raise LabelStudioError(
                f"{len(missing)} uploaded images are not on the server, first {missing[0]}"
            )
        return {task.key: "/data/" + quote(uploaded[stored_name(task)]) for task in tasks}


def stored_name(task: OutgoingTask) -> str:
    """Return the file name of an image on the server: from its hash, so that it is stored once."""
    # The server shortens paths of more than 100 characters, with its own prefix: half a hash is enough.
    return task.image_id[:32] + task.image_path.suffix.lower()


def _link_image(task: OutgoingTask, target: Path) -> None:
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


def _give_access(api: Api, project_id: int, folder: Path) -> None:
    """Let the server show a folder: create our storage, or update its path, which may have changed."""
    storages = api.storages("localfiles", project_id)
    if any(Path(storage.get("path") or "") == folder for storage in storages):
        return
    ours = next((s["id"] for s in storages if s.get("title") == STORAGE_TITLE), None)
    settings = {"project": project_id, "path": str(folder)}
    api.save_storage("localfiles", ours, settings if ours else STORAGE_SETTINGS | settings)


def _uploaded_files(api: Api, project_id: int) -> dict[str, str]:
    """Return the paths of uploaded files by our name; the server adds the prefix ``upload/1/<8 hex>-``."""
    return {path.rpartition("/")[2].partition("-")[2]: path for path in api.uploads(project_id)}


def _upload_batches(files: dict[str, Path]) -> list[dict[str, Path]]:
    """Divide files into uploads within the limits."""
    batches: list[dict[str, Path]] = []
    size = 0
    for name, path in files.items():
        try:
            length = path.stat().st_size
        except OSError as error:
            raise LabelStudioError(f"cannot upload {path}: {error}") from error
        if not batches or len(batches[-1]) >= _UPLOAD_FILES or size + length > _UPLOAD_BYTES:
            batches.append({})
            size = 0
        batches[-1][name] = path
        size += length
    return batches
