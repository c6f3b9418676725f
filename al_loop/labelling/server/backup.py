"""Back up and restore an embedded server: labels and logins.

A backup is a .tar.gz, readable by its owner only:

    backup.json            kind of file, version of the server
    credentials.json       e-mail, password, token
    data/                  a consistent copy of the database, the secret key, uploads

Images are part of the workspace, not of the backup.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tarfile
import tempfile
import zlib
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from packaging.version import Version

from al_loop.core.errors import LabelStudioError
from al_loop.core.files import atomic_file
from al_loop.core.lock import waiting_lock
from al_loop.labelling.server.archive import ArchiveError, unpack
from al_loop.labelling.server.credentials import FILE_NAME as CREDENTIALS
from al_loop.labelling.server.credentials import read_credentials
from al_loop.labelling.server.environment import VERSION
from al_loop.labelling.server.server_state import status
from al_loop.state.database.integrity import first_damage, row_count

DATABASE = "label_studio.sqlite3"
_NOTE = "backup.json"
_KIND = "label-studio backup"
_UNREADABLE = (
    ArchiveError, OSError, tarfile.TarError, zlib.error, EOFError, sqlite3.Error, ValueError,
    RecursionError, msgspec.MsgspecError,
)  # fmt: skip


class _Note(msgspec.Struct, rename={"kind": "al-loop"}):
    """Content of backup.json."""

    kind: Literal["label-studio backup"]
    version: Annotated[str, msgspec.Meta(pattern=r"^\d+(\.\d+)*$")]


def back_up(home: Path, target: Path, version: str = VERSION) -> Path:
    """Write a backup of the server of `home`, which may be running, and return the file.

    version: version of Label Studio that last ran.
    Raises LabelStudioError if there is no server, the file exists, or the file cannot be written.
    """
    data = home / "data"
    if not (data / DATABASE).is_file():
        raise LabelStudioError(f"{home} holds no server to back up. Create one: al-loop label-studio start")
    if target.exists():
        raise LabelStudioError(f"{target} exists: name another file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=home, prefix="backup-") as folder,
            atomic_file(target, mode=0o600) as file,
            # Links are followed: `restore` accepts plain files only.
            tarfile.open(fileobj=file, mode="w:gz", dereference=True) as archive,
        ):
            note, database = Path(folder) / _NOTE, Path(folder) / DATABASE
            note.write_text(json.dumps({"al-loop": _KIND, "version": version, "at": _now()}))
            # The copy is consistent even while the server writes.
            with (
                closing(sqlite3.connect(data / DATABASE)) as origin,
                closing(sqlite3.connect(database)) as copy,
            ):
                origin.backup(copy)
            archive.add(note, _NOTE)
            archive.add(home / CREDENTIALS, CREDENTIALS)
            archive.add(database, f"data/{DATABASE}")
            for path in sorted(data.rglob("*")):
                if path.is_file() and not path.name.startswith(DATABASE):
                    archive.add(path, f"data/{path.relative_to(data)}")
    except (OSError, sqlite3.Error) as error:
        raise LabelStudioError(f"the backup cannot be written to {target}: {error}") from None
    return target


def restore(home: Path, source: Path) -> Path | None:
    """Replace the server of `home` with a backup; return the folder that keeps the old server, if any.

    Raises LabelStudioError, and changes nothing, if the server is running or the file is not a backup.
    """
    home = home.absolute()
    if status(home).running:
        raise LabelStudioError("the server runs: stop it before you restore: al-loop label-studio stop")
    home.mkdir(parents=True, exist_ok=True)
    with waiting_lock(home / "lock"), tempfile.TemporaryDirectory(dir=home, prefix="restore-") as folder:
        unpacked = Path(folder)
        _unpack(source, unpacked)
        old = None
        replaced = [path for path in (home / "data", home / CREDENTIALS) if path.exists()]
        if replaced:
            old = Path(tempfile.mkdtemp(dir=home, prefix=f"before-restore-{_now().replace(':', '')}-"))
            for path in replaced:
                os.replace(path, old / path.name)
        os.replace(unpacked / CREDENTIALS, home / CREDENTIALS)
        # The data are moved last: they make the folder count as a server.
        os.replace(unpacked / "data", home / "data")
    return old


def _unpack(source: Path, folder: Path) -> None:
    """Unpack a backup into an empty folder and check it."""
    expected = "expected a file of al-loop label-studio backup"
    try:
        unpack(source, folder)
        note = msgspec.json.decode((folder / _NOTE).read_bytes(), type=_Note)
        database = folder / "data" / DATABASE
        row_count(database, "htx_user")  # refuses an empty database, in which SQLite finds no damage
        damage = first_damage(database)
        (folder / CREDENTIALS).chmod(0o600)
        (folder / "data").chmod(0o700)
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name
        raise LabelStudioError(
            f"{source} is no backup of al-loop: {missing} is missing, {expected}"
        ) from None
    except _UNREADABLE as error:
        raise LabelStudioError(
            f"{source} is no backup of al-loop, or damaged ({error}): {expected}"
        ) from None
    if damage:
        raise LabelStudioError(f"{source} is damaged ({damage}): use another backup")
    try:
        read_credentials(folder)
    except LabelStudioError:
        raise LabelStudioError(
            f"{source} is damaged: its logins cannot be read. Use another backup"
        ) from None
    if Version(note.version) > Version(VERSION):
        raise LabelStudioError(
            f"{source} was written by Label Studio {note.version}; this al-loop uses {VERSION}. "
            "Upgrade al-loop, then restore"
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
