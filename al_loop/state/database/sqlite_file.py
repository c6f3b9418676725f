"""Open the database file: private to its owner, read-only if necessary, with errors that users understand."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from al_loop.core.errors import WorkspaceError

#: Advice for a database that is private to another user.
AS_OWNER = "Run the command as that user, or have a copy of the workspace made for you"

_BUSY_S = 30
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_IN_USE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


class Connection(sqlite3.Connection):
    """A connection whose errors are WorkspaceErrors. It stops writing when it finds damage."""

    path: Path
    read_only = False
    damaged = False
    left_open = False  # the last writer did not close the database, or still writes
    stamp: tuple[int, int] | None = None  # of a file that is read without locks and must not change

    def cursor(self, factory: Any = None) -> Any:
        """Return a cursor whose errors are explained."""
        return super().cursor(_Cursor)

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """Run one statement."""
        return self.cursor().execute(sql, parameters)

    def check_unchanged(self) -> None:
        """Raise WorkspaceError if a file that is read without locks has changed."""
        if self.stamp is not None and self.stamp != _stamp(self.path):
            raise WorkspaceError(
                f"{self.path} was changed while it was read without a lock. Run the same command again"
            )

    def explain(self, error: sqlite3.DatabaseError) -> Exception:
        """Translate an error of SQLite for users. Return an error of the program itself unchanged."""
        code, message = getattr(error, "sqlite_errorcode", 0) & 0xFF, str(error)
        if self.damaged or code in _DAMAGE:
            self.stop_writing()
            return damaged(self.path, error)
        text = None
        if code in _READ_ONLY:
            text = read_only_message(self.path.parent)
        elif code in _IN_USE:
            text = (
                f"{self.path} was in use by another program for {_BUSY_S} s. Close what has opened it "
                "(a database browser, a backup), and run the same command again"
            )
        elif code in _NO_ROOM:
            text = (
                f"{self.path} cannot be written ({message}). Earlier writes are kept. Free space on the "
                "disk, and run the same command again. al-loop gc frees space, too"
            )
        elif message.startswith(("no such table", "no such column")):
            text = (
                f"{self.path} lacks a table or column that every workspace has ({message}). See what is "
                "wrong: al-loop doctor. Then restore it from a backup"
            )
        elif "malformed JSON" in message:
            text = f"{self.path} holds a damaged entry ({message}). See which: al-loop doctor"
        return error if text is None else WorkspaceError(text)

    def stop_writing(self) -> None:
        """Refuse to write through this connection from now on: the database is damaged."""
        if not self.damaged:
            self.damaged = True
            with suppress(sqlite3.Error):
                sqlite3.Connection.execute(self, "PRAGMA query_only = ON")


def _with_explained_errors(method: Any) -> Any:
    """Wrap a method of a cursor, so that `Connection.explain` translates its errors."""

    def call(cursor: _Cursor, *arguments: Any) -> Any:
        try:
            return method(cursor, *arguments)
        except sqlite3.DatabaseError as error:
            raise cursor.connection.explain(error) from error

    return call


class _Cursor(sqlite3.Cursor):
    """Statements and rows of a `Connection`."""

    connection: Connection
    executemany = _with_explained_errors(sqlite3.Cursor.executemany)
    executescript = _with_explained_errors(sqlite3.Cursor.executescript)
    fetchone = _with_explained_errors(sqlite3.Cursor.fetchone)
    __next__ = _with_explained_errors(sqlite3.Cursor.__next__)

    @_with_explained_errors
    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        self.connection.check_unchanged()
        return super().execute(sql, parameters)

    @_with_explained_errors
    def fetchall(self) -> list[Any]:
        rows = super().fetchall()
        self.connection.check_unchanged()
        return rows


def connect(path: Path | str, *, only_read: bool = False) -> Connection:
    """Open a database, or create one that is private to its owner. Open it read-only if it is not writable.

    only_read: open it read-only, and create no files beside it.
    Raises WorkspaceError if it cannot be opened.
    """
    path = Path(path)
    if str(path) == ":memory:":
        return _open(path, ":memory:")
    if unreadable(path):
        raise WorkspaceError(f"{path} may be read by its owner only (user {path.stat().st_uid}). {AS_OWNER}")
    if path.exists() and _size(path) == 0:
        # A full disk or a power failure leaves such a file. SQLite would treat it as a new database.
        raise damaged(path, "it is empty")
    beside = database_files(path)[1:]
    if only_read:
        # These files exist while a command runs, and after a kill.
        in_use = any(file.exists() for file in beside)
        return _open_to_read(path, changes_wait=True) if in_use else _open_without_locks(path)
    left_open = _size(beside[0]) > 0
    if path.exists() and not _writable(path):
        return _open_to_read(path, changes_wait=left_open)
    try:
        # Only for a new file: closing a file of an open database drops the locks of SQLite on it (POSIX).
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise WorkspaceError(
            f"{path} cannot be opened ({error.strerror}). Give yourself the permission to"
        ) from None
    keep_private(database_files(path))
    connection = _open(path, str(path))
    connection.left_open = left_open
    return connection


def database_files(path: Path) -> list[Path]:
    """Return the file of a database, and the files that SQLite keeps beside it during use."""
    return [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]


def keep_private(paths: Sequence[Path]) -> None:
    """Remove the permissions of other users on files and folders of this user."""
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            if status.st_mode & 0o077 and status.st_uid == os.geteuid():
                path.chmod(status.st_mode & 0o700)


def damaged(path: Path, reason: object) -> WorkspaceError:
    """Return the error for a damaged database."""
    return WorkspaceError(
        f"{path} is damaged and cannot be used as a database ({' '.join(str(reason).split())}). Nothing is "
        f"written to it. See what else is wrong: al-loop doctor. {restoring(path)}"
    )


def restoring(path: Path) -> str:
    """Return the instructions to restore a database."""
    return (
        f"Restore {path.name} from a backup, with no command running, and delete {path.name}-wal and "
        f"{path.name}-shm if they are there"
    )


def read_only_message(root: Path) -> str:
    """Return the message for a command that cannot run in a read-only workspace."""
    return (
        f"the workspace {root} is read-only here, and this command writes to it. These commands work: "
        "status, pool list, models list, models show, verify, report --json, pool export FILE, doctor. To "
        f"continue the loop, get write permission ({root} and the files in it), or copy the workspace to a "
        "writable place"
    )


def unreadable(path: Path) -> bool:
    """Whether a database exists that this user may not read."""
    return path.exists() and not os.access(path, os.R_OK)


def _open_without_locks(path: Path) -> Connection:
    stamp = _stamp(path)
    connection = _open(path, f"{path.absolute().as_uri()}?mode=ro&immutable=1", read_only=True)
    connection.stamp = stamp
    return connection


def _open_to_read(path: Path, *, changes_wait: bool) -> Connection:
    """Open a database with SQLite's locks. Without locks, open it as a file that must not change."""
    try:
        connection = _open(path, f"{path.absolute().as_uri()}?mode=ro", read_only=True)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except WorkspaceError:
        # SQLite needs an index beside the file and cannot create it here. The file alone is complete
        # unless a -wal file holds changes.
        if changes_wait:
            raise WorkspaceError(
                f"{path.parent} is read-only here, and {path.name}-wal holds changes that cannot be read "
                "without writing: a command runs there, or was killed. Run al-loop status where it can be "
                "written, or copy the workspace"
            ) from None
        return _open_without_locks(path)
    return connection


def _open(path: Path, target: str, *, read_only: bool = False) -> Connection:
    try:
        connection = sqlite3.connect(
            target, timeout=_BUSY_S, isolation_level=None, factory=Connection, uri=target.startswith("file:")
        )
    except sqlite3.Error as error:
        raise WorkspaceError(
            f"{path} cannot be opened ({error}). See what is wrong: al-loop doctor"
        ) from None
    connection.row_factory = sqlite3.Row
    connection.path, connection.read_only = path, read_only
    return connection


def _writable(path: Path) -> bool:
    files = [file for file in database_files(path) if file.exists()]
    return all(os.access(file, os.W_OK) for file in (path.parent, *files))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _size(path: Path) -> int:
    stamp = _stamp(path)
    return 0 if stamp is None else stamp[0]
