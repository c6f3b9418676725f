"""Back up and restore an embedded server: labels and logins.

A backup is one .tar.gz, readable by its owner only:

    backup.json            what it is, and the server's version
    credentials.json       e-mail, password, token
    data/                  the database as of one moment, the secret key, uploads

Pictures are not in it: they are the workspace's own.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from al_loop.core.errors import LabelStudioError
from al_loop.core.files import atomic_file
from al_loop.core.lock import waiting_lock
from al_loop.labelling.server.archive import ArchiveError, unpack
from al_loop.labelling.server.credentials import FILE_NAME as CREDENTIALS
from al_loop.labelling.server.credentials import read_credentials
from al_loop.labelling.server.environment import VERSION
from al_loop.labelling.server.server_state import status
from al_loop.labelling.tasks.convert import shown
from al_loop.state.database.integrity import first_damage, row_count

DATABASE = "label_studio.sqlite3"
_NOTE = "backup.json"
_NO_NOTE = (ValueError, KeyError, TypeError, RecursionError, AttributeError)


def back_up(home: Path, target: Path, version: str = VERSION) -> Path:
    """Write a backup of the server of `home`, which may be running; return the file.

    version: of the Label Studio that it was started with last.

    Raises LabelStudioError where there is nothing to back up, where the file is there already, or cannot be
    written.
    """
    data = home / "data"
    if not (data / DATABASE).is_file():
        raise LabelStudioError(f"{home} holds no server to back up. Make one: al-loop label-studio start")
    if target.exists():
        raise LabelStudioError(f"{target} is there already: name another file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=home, prefix="backup-") as folder,
            atomic_file(target, mode=0o600) as file,
            # Links are followed: `restore` takes plain files only.
            tarfile.open(fileobj=file, mode="w:gz", dereference=True) as archive,
        ):
            _add_text(
                archive,
                _NOTE,
                json.dumps({"al-loop": "label-studio backup", "version": version, "at": _now()}),
            )
            archive.add(home / CREDENTIALS, CREDENTIALS)
            _copy_database(data / DATABASE, Path(folder) / DATABASE)
            archive.add(Path(folder) / DATABASE, f"data/{DATABASE}")
            for path in _other_files(data):
                archive.add(path, f"data/{path.relative_to(data)}")
    except (OSError, sqlite3.Error) as error:
        raise LabelStudioError(f"the backup cannot be written to {target}: {error}") from None
    return target


def restore(home: Path, source: Path) -> Path | None:
    """Replace the server of `home` by a backup; return the folder that keeps the old one.

    Raises LabelStudioError while the server runs, and for a file that is no backup: then nothing has changed.
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
        # With its data the folder is a server's: they come last.
        os.replace(unpacked / "data", home / "data")
    return old


def _unpack(source: Path, folder: Path) -> None:
    """Unpack a backup into an empty folder and check it."""
    try:
        unpack(source, folder)
        note = json.loads((folder / _NOTE).read_text())
        kind, version = note["al-loop"], note["version"]
        if not isinstance(version, str) or not _numbers(version):
            raise ValueError(f"it is of the version {shown(version)}")
        database = folder / "data" / DATABASE
        row_count(database, "htx_user")  # an empty database is whole, too
        good = first_damage(database) is None
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name
        raise LabelStudioError(
            f"{source} is no backup of al-loop: expected a file of al-loop label-studio backup, "
            f"{missing} is missing"
        ) from None
    except (ArchiveError, OSError, tarfile.TarError, zlib.error, EOFError, sqlite3.Error, *_NO_NOTE) as error:
        raise LabelStudioError(
            f"{source} is no backup of al-loop, or damaged ({error}): expected a file of "
            "al-loop label-studio backup"
        ) from None
    if kind != "label-studio backup" or not good or not (folder / CREDENTIALS).is_file():
        raise LabelStudioError(f"{source} is damaged: take another backup")
    try:
        read_credentials(folder)
    except LabelStudioError:
        raise LabelStudioError(
            f"{source} is damaged, its logins cannot be read: take another backup"
        ) from None
    if _numbers(version) > _numbers(VERSION):
        raise LabelStudioError(
            f"{source} is of Label Studio {version}, this al-loop runs {VERSION}: "
            "upgrade al-loop, then restore"
        )
    (folder / "data").chmod(0o700)
    (folder / CREDENTIALS).chmod(0o600)


def _copy_database(source: Path, target: Path) -> None:
    """Copy a database consistently, also while it is written to."""
    with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(target)) as copy:
        origin.backup(copy)


def _other_files(data: Path) -> Iterator[Path]:
    """Yield the files of the data directory except those of the database."""
    for path in sorted(data.rglob("*")):
        if path.is_file() and not path.name.startswith(DATABASE):
            yield path


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(text.encode())
    archive.addfile(about, io.BytesIO(text.encode()))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
