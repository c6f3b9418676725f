"""The database's file: private to its owner, only read where nothing can be written, its errors in a user's words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from al_loop.core.errors import WorkspaceError

#: What to do where a database is private to somebody else.
AS_OWNER = "Run the command as that user, or have a copy of the workspace made for you"

_BUSY_S = 30
#: Up to here the whole file is looked through whenever a command begins to write: 0.1 s.
_ALWAYS_BYTES = 64 << 20
#: A larger one (0.6 GB for a million images, 1 s) so often, and whenever the last command did not end cleanly.
_EVERY = timedelta(days=1)
_CHECKED = "database checked"
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_IN_USE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


class Connection(sqlite3.Connection):
    """A connection whose errors are WorkspaceErrors; after damage was met nothing more is written through it."""

    path: Path
    read_only = False
    damaged = False
    left_open = False  # the last that wrote did not close it, or still writes
    stamp: tuple[int, int] | None = None  # of a file that is read without locks: it must stay as it is

    def cursor(self, factory: Any = None) -> Any:
        """Return a cursor whose errors are explained."""
        return super().cursor(_Cursor)

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """Run one statement."""
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        """Run one statement for each of many values."""
        return self.cursor().executemany(sql, parameters)

    def executescript(self, sql_script: str, /) -> Any:
        """Run several statements."""
        return self.cursor().executescript(sql_script)

    def whole(self) -> None:
        """Raise WorkspaceError where a file that is read without locks was changed meanwhile."""
        if self.stamp is not None and self.stamp != _stamp(self.path):
            raise WorkspaceError(
                f"{self.path} was changed while it was read, from a place where it cannot be locked. Run the same again"
            )

    def explained(self, error: sqlite3.DatabaseError) -> Exception:
        """Return what an error of SQLite means to a user; what only a mistake in the program causes, as it is."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if self.damaged or code in _DAMAGE:
            self._stop_writing()
            return damaged(self.path, error)
        if code in _READ_ONLY:
            return WorkspaceError(read_only_message(self.path.parent))
        if code in _IN_USE:
            return WorkspaceError(
                f"{self.path} was in use by another program for {_BUSY_S} s. Close what has opened it (a database "
                "browser, a backup), and run the same again"
            )
        if code in _NO_ROOM:
            return WorkspaceError(
                f"{self.path} cannot be written ({error}). What was written before is kept. Make room on the disk, "
                "and run the same again. With a little room, al-loop gc makes more"
            )
        if code == sqlite3.SQLITE_ERROR and ("no such table" in str(error) or "no such column" in str(error)):
            return WorkspaceError(
                f"{self.path} lacks a part that every workspace has ({error}). See what is wrong: al-loop doctor. "
                "Then restore it from a backup"
            )
        if code == sqlite3.SQLITE_ERROR and "malformed JSON" in str(error):
            return WorkspaceError(f"{self.path} holds a damaged entry ({error}). See which: al-loop doctor")
        return error

    def _stop_writing(self) -> None:
        if not self.damaged:
            self.damaged = True
            with suppress(sqlite3.Error):
                sqlite3.Connection.execute(self, "PRAGMA query_only = ON")


class _Cursor(sqlite3.Cursor):
    """Statements and rows of a `Connection`."""

    connection: Connection

    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        self.connection.whole()
        try:
            return super().execute(sql, parameters)
        except sqlite3.DatabaseError as error:
            raise self.connection.explained(error) from error

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Self:
        try:
            return super().executemany(sql, parameters)
        except sqlite3.DatabaseError as error:
            raise self.connection.explained(error) from error

    def executescript(self, sql_script: str, /) -> Self:
        try:
            super().executescript(sql_script)
        except sqlite3.DatabaseError as error:
            raise self.connection.explained(error) from error
        return self

    def fetchone(self) -> Any:
        try:
            return super().fetchone()
        except sqlite3.DatabaseError as error:
            raise self.connection.explained(error) from error

    def fetchall(self) -> list[Any]:
        try:
            rows = super().fetchall()
        except sqlite3.DatabaseError as error:
            raise self.connection.explained(error) from error
        self.connection.whole()
        return rows

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except sqlite3.DatabaseError as error:
            raise self.connection.explained(error) from error


def connect(path: Path | str) -> Connection:
    """Open the database, or create it, readable by its owner only; where it cannot be written, only to read.

    Raises WorkspaceError where it cannot be opened.
    """
    path = Path(path)
    if str(path) == ":memory:":
        return _opened(path, ":memory:")
    _refuse_unreadable(path)
    _refuse_empty(path)
    left_open = _size(_beside(path, "-wal")) > 0
    if path.exists() and not _writable(path):
        return _to_read(path, left_open=left_open)
    try:
        # Only where there is none: closing a file of an open database drops the locks that SQLite holds on it (POSIX).
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise WorkspaceError(
            f"{path} cannot be opened ({error.strerror}). Give yourself the right to"
        ) from None
    keep_private(database_files(path))
    made = _opened(path, str(path))
    made.left_open = left_open
    return made


def database_files(path: Path) -> list[Path]:
    """Return the file of a database and those that SQLite keeps beside it while it is in use."""
    return [path, _beside(path, "-wal"), _beside(path, "-shm")]


def keep_private(paths: Sequence[Path]) -> None:
    """Take the rights of others away from files and folders that hold what is not theirs, where they are ours."""
    for path in paths:
        with suppress(OSError):
            found = path.stat()
            if found.st_mode & 0o077 and found.st_uid == os.geteuid():
                path.chmod(found.st_mode & 0o700)


def check(connection: Connection) -> None:
    """Look for damage before a command writes: WorkspaceError where there is any, and nothing is written then.

    A small database always, a large one once a day and after a command that did not end cleanly.
    """
    size = _size(connection.path)
    large = size > _ALWAYS_BYTES
    if large and not connection.left_open:
        row = connection.execute("SELECT value FROM facts WHERE key = ?", (_CHECKED,)).fetchone()
        if row is not None and datetime.now(UTC) - datetime.fromisoformat(row[0]) < _EVERY:
            return
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        connection._stop_writing()
        raise damaged(connection.path, str(found))
    connection.left_open = False
    if large:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        connection.execute("INSERT OR REPLACE INTO facts (key, value) VALUES (?, ?)", (_CHECKED, now))


def damaged(path: Path, what: object) -> WorkspaceError:
    """Return the error for a database that is not whole."""
    said = " ".join(str(what).split())
    return WorkspaceError(
        f"{path} is damaged and cannot be used as a database ({said}). Nothing is written to it. See what else is "
        f"wrong: al-loop doctor. {restoring(path)}"
    )


def restoring(path: Path) -> str:
    """Say how a database is put back."""
    return (
        f"Restore {path.name} from a backup, with no command running, and delete {path.name}-wal and {path.name}-shm "
        "if they are there"
    )


def read_only_message(root: Path) -> str:
    """Say of a workspace in which nothing can be written what works, and what to do."""
    return (
        f"the workspace {root} is read-only here: this would write to it. What only reads works: status, pool list, "
        "models list, models show, verify, report --json, pool export FILE, doctor. To go on with the loop, give "
        f"yourself the right to write ({root} and the files in it), or copy the workspace to where you have it"
    )


def connect_to_read(path: Path) -> Connection:
    """Open the database to read it, without a trace; WorkspaceError where it cannot be opened."""
    _refuse_unreadable(path)
    _refuse_empty(path)
    if any(
        file.exists() for file in database_files(path)[1:]
    ):  # in use, or left by a kill: with SQLite's locks
        return _to_read(path, left_open=True)
    return _as_a_file(path)


def _as_a_file(path: Path) -> Connection:
    before = _stamp(path)
    made = _opened(path, f"{path.absolute().as_uri()}?mode=ro&immutable=1", read_only=True)
    made.stamp = before
    return made


def _to_read(path: Path, *, left_open: bool) -> Connection:
    """Open a database where nothing can be written: with SQLite's locks if it can, else as a file that stays as it is."""
    try:
        made = _opened(path, f"{path.absolute().as_uri()}?mode=ro", read_only=True)
        made.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except WorkspaceError:
        # SQLite reads through an index beside the file, which it cannot make here. Without changes that wait in a
        # -wal the file alone is whole.
        if left_open:
            raise WorkspaceError(
                f"{path.parent} is read-only here, and {path.name}-wal holds changes that cannot be read without "
                "writing: a command runs there, or was killed. Run al-loop status where it can be written, or copy "
                "the workspace"
            ) from None
        return _as_a_file(path)
    return made


def _opened(path: Path, target: str, *, read_only: bool = False) -> Connection:
    try:
        made = sqlite3.connect(
            target,
            timeout=_BUSY_S,
            isolation_level=None,
            factory=Connection,
            uri=target.startswith("file:"),
        )
    except sqlite3.Error as error:
        raise WorkspaceError(
            f"{path} cannot be opened ({error}). See what is wrong: al-loop doctor"
        ) from None
    made.row_factory = sqlite3.Row
    made.path, made.read_only = path, read_only
    return made


def unreadable(path: Path) -> bool:
    """Say whether there is a database that this user may not read: it is private to its owner."""
    return path.exists() and not os.access(path, os.R_OK)


def _refuse_unreadable(path: Path) -> None:
    if unreadable(path):
        raise WorkspaceError(f"{path} may be read by its owner only (user {path.stat().st_uid}). {AS_OWNER}")


def _refuse_empty(path: Path) -> None:
    """A file without a byte is what a full disk or a loss of power leaves; SQLite would take it for a new database."""
    if path.exists() and _size(path) == 0:
        raise damaged(path, "it is empty")


def _writable(path: Path) -> bool:
    there = [file for file in database_files(path) if file.exists()]
    return all(os.access(file, os.W_OK) for file in (path.parent, *there))


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
