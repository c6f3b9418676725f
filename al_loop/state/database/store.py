"""Connection to the workspace's database: SQLite in WAL mode, its schema brought up to date when it is opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from al_loop.core.errors import WorkspaceError
from al_loop.state.database.migrations import MIGRATIONS, OLDEST_READABLE
from al_loop.state.database.sqlite_file import check, connect, connect_to_read, restoring

Row = TypeVar("Row")


class Store:
    """One connection to the database, with rows as mappings and explicit transactions."""

    def __init__(
        self,
        path: Path | str,
        *,
        only_read: bool = False,
        before_migration: Callable[[int], None] | None = None,
    ) -> None:
        """Open or create the database and bring its schema up to date.

        only_read: change nothing, not even beside it, and leave the schema as it is.
        before_migration: called with the version of an older schema; an error that it raises prevents the migration.

        Raises WorkspaceError for a database of a newer al-loop, one that is damaged, and, where nothing can be written,
        one of an older al-loop.
        """
        self.path, self._before_migration = path, before_migration
        self.version = 0  # of the schema, when the database was opened
        self.connection = connect_to_read(Path(path)) if only_read else connect(path)
        try:
            self._prepare()
        except BaseException:
            self.connection.close()
            raise

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written where the database lies."""
        return self.connection.read_only

    def _prepare(self) -> None:
        self.connection.execute("PRAGMA foreign_keys = ON")
        self.connection.execute("PRAGMA cell_size_check = ON")  # damage is met before it is used
        self.version = version = int(self.connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise WorkspaceError(
                f"{self.path} was made by a newer al-loop (schema {version}, this one knows "
                f"{len(MIGRATIONS)}). Upgrade al-loop, then run again"
            )
        if self.read_only:
            if version < OLDEST_READABLE:
                raise WorkspaceError(
                    f"{self.path} was made by an older al-loop (schema {version}, this one has {len(MIGRATIONS)}), and "
                    "cannot be brought up to date, as it is read-only here. Copy the workspace to where you may write"
                )
            self.connection.execute("PRAGMA query_only = ON")
            return
        if version < len(MIGRATIONS) and self._before_migration is not None:
            self._before_migration(version)
        self.connection.execute("PRAGMA journal_mode = WAL")
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            # The schema and its number change together or not at all.
            try:
                self.connection.executescript(
                    f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;"
                )
            except sqlite3.OperationalError as error:
                raise WorkspaceError(
                    f"{self.path} cannot be brought to schema {number} ({error}). {restoring(Path(self.path))}"
                ) from error

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def check(self) -> None:
        """Look for damage before a command writes; WorkspaceError where there is any."""
        check(self.connection)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything inside, or nothing."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            # A full disk has ended it already.
            if self.connection.in_transaction:
                self.execute("ROLLBACK")
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read everything inside as of now, whatever another process writes meanwhile."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            self.execute("COMMIT")

    def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
        """Run one statement; outside a transaction it commits by itself."""
        cursor: sqlite3.Cursor = self.connection.execute(sql, values)
        return cursor

    def row(self, sql: str, *values: object) -> sqlite3.Row | None:
        """Return the first row or None."""
        row: sqlite3.Row | None = self.connection.execute(sql, values).fetchone()
        return row

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """Return all rows."""
        rows: list[sqlite3.Row] = self.connection.execute(sql, values).fetchall()
        return rows

    def count(self, sql: str, *values: object) -> int:
        """Return the single number that the statement asks for."""
        return int(self.connection.execute(sql, values).fetchone()[0])

    def column(self, sql: str, *values: object) -> list[Any]:
        """Return the first column of all rows."""
        return [value for (value,) in self.connection.execute(sql, values)]

    def first(self, kind: type[Row], sql: str, *values: object) -> Row | None:
        """Return the first row as an object whose fields are named like the columns, or None."""
        return next(self.stream(kind, sql, *values), None)

    def all(self, kind: type[Row], sql: str, *values: object) -> list[Row]:
        """Return all rows as objects whose fields are named like the columns."""
        return list(self.stream(kind, sql, *values))

    def stream(self, kind: type[Row], sql: str, *values: object) -> Iterator[Row]:
        """Yield rows as `all` returns them, one at a time."""
        cursor = self.connection.execute(sql, values)
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield kind(**dict(zip(names, row, strict=True)))

    def write_many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Run one statement for each of many tuples of values."""
        self.connection.executemany(sql, rows)
