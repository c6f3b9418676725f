"""Connection to the workspace's database: SQLite in WAL mode, migrated when it is opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from al_loop.core.errors import WorkspaceError
from al_loop.state.database.migrations import MIGRATIONS, OLDEST_READABLE
from al_loop.state.database.sqlite_file import connect, damaged, restoring

#: A database of up to this size is checked for damage by every command that writes: 0.1 s.
_ALWAYS_BYTES = 64 << 20
#: A larger one (0.6 GB for a million images, 1 s) is checked once a day, and after a killed command.
_EVERY = timedelta(days=1)
_CHECKED = "database checked"

Row = TypeVar("Row")


class Store:
    """One connection to the database, with rows as mappings or dataclasses, and explicit transactions."""

    def __init__(
        self,
        path: Path | str,
        *,
        only_read: bool = False,
        before_migration: Callable[[int], None] | None = None,
    ) -> None:
        """Open or create the database and migrate its schema.

        only_read: change neither the schema nor a file beside the database.
        before_migration: called with the version of an older schema. An error in it prevents the migration.

        Raises WorkspaceError for a damaged database, for one of a newer al-loop, and for an old one that
        cannot be written.
        """
        self.path, self._before_migration = path, before_migration
        self.connection = connect(path, only_read=only_read)
        try:
            self.execute("PRAGMA foreign_keys = ON")
            self.execute("PRAGMA cell_size_check = ON")  # finds damage before the data is used
            self.version = self.count("PRAGMA user_version")  # of the schema, when it was opened
            self._prepare(self.version)
        except BaseException:
            self.connection.close()
            raise

    @property
    def read_only(self) -> bool:
        """Whether the database cannot be written."""
        return self.connection.read_only

    def _prepare(self, version: int) -> None:
        newest = len(MIGRATIONS)
        if version > newest:
            raise WorkspaceError(
                f"{self.path} was made by a newer al-loop (schema {version}, this one knows {newest}). "
                "Upgrade al-loop, then run again"
            )
        if self.read_only:
            if version < OLDEST_READABLE:
                raise WorkspaceError(
                    f"{self.path} was made by an older al-loop (schema {version}, this one has {newest}), "
                    "and cannot be migrated, as it is read-only here. Copy the workspace to a writable "
                    "place"
                )
            self.execute("PRAGMA query_only = ON")
            return
        if version < newest and self._before_migration is not None:
            self._before_migration(version)
        self.execute("PRAGMA journal_mode = WAL")
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            # The schema and its number change together or not at all.
            end = f"PRAGMA user_version = {number}; COMMIT;"
            try:
                self.connection.cursor().executescript(f"BEGIN IMMEDIATE; {script}; {end}")
            except sqlite3.OperationalError as error:
                advice = restoring(Path(self.path))
                raise WorkspaceError(
                    f"{self.path} cannot be migrated to schema {number} ({error}). {advice}"
                ) from error

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def check(self) -> None:
        """Check for damage before a command writes. Raises WorkspaceError if there is any."""
        page_count, page_size = self.count("PRAGMA page_count"), self.count("PRAGMA page_size")
        large = page_count * page_size > _ALWAYS_BYTES
        if large and not self.connection.left_open:
            checked = self.text("SELECT value FROM facts WHERE key = ?", _CHECKED)
            if checked is not None and datetime.now(UTC) - datetime.fromisoformat(checked) < _EVERY:
                return
        damage = self.text("PRAGMA quick_check(1)")
        if damage != "ok":
            self.connection.stop_writing()
            raise damaged(self.connection.path, damage)
        self.connection.left_open = False
        if large:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self.execute("INSERT OR REPLACE INTO facts (key, value) VALUES (?, ?)", _CHECKED, now)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all statements of the block, or none."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            # A full disk has already ended the transaction.
            if self.connection.in_transaction:
                self.execute("ROLLBACK")
            raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads of the block see the same state, whatever another process writes."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            self.execute("COMMIT")

    def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
        """Run one statement. Outside a transaction, it is committed at once."""
        cursor: sqlite3.Cursor = self.connection.execute(sql, values)
        return cursor

    def row(self, sql: str, *values: object) -> sqlite3.Row | None:
        """Return the first row or None."""
        row: sqlite3.Row | None = self.execute(sql, *values).fetchone()
        return row

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """Return all rows."""
        return self.execute(sql, *values).fetchall()

    def pairs(self, sql: str, *values: object) -> list[tuple[Any, Any]]:
        """Return all rows of a statement with two columns."""
        return [(first, second) for first, second in self.execute(sql, *values)]

    def count(self, sql: str, *values: object) -> int:
        """Return the number in the first column of the only row."""
        return int(self.execute(sql, *values).fetchone()[0])

    def text(self, sql: str, *values: object) -> str | None:
        """Return the first column of the first row, or None without a row."""
        row = self.row(sql, *values)
        return None if row is None else str(row[0])

    def column(self, sql: str, *values: object) -> list[Any]:
        """Return the first column of all rows."""
        return list(self.stream_column(sql, *values))

    def stream_column(self, sql: str, *values: object) -> Iterator[Any]:
        """Yield the first column of each row."""
        return (value for (value,) in self.execute(sql, *values))

    def first(self, kind: type[Row], sql: str, *values: object) -> Row | None:
        """Return the first row as an object whose fields have the names of the columns, or None."""
        return next(self.stream(kind, sql, *values), None)

    def all(self, kind: type[Row], sql: str, *values: object) -> list[Row]:
        """Return all rows as objects whose fields have the names of the columns."""
        return list(self.stream(kind, sql, *values))

    def stream(self, kind: type[Row], sql: str, *values: object) -> Iterator[Row]:
        """Yield the rows of `all`, one at a time."""
        cursor = self.execute(sql, *values)
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield kind(**dict(zip(names, row, strict=True)))

    def insert(self, table: str, rows: Iterable[Any], otherwise: str = "ABORT", **computed: str) -> None:
        """Insert dataclasses whose fields have the names of the columns.

        otherwise: SQLite's conflict clause.
        computed: SQL expressions for the values of other columns.
        """
        rows = list(rows)
        names = [f.name for f in fields(rows[0]) if f.name not in computed] if rows else []
        columns, places = ", ".join([*names, *computed]), ", ".join(["?"] * len(names) + [*computed.values()])
        if rows:
            self.write_many(
                f"INSERT OR {otherwise} INTO {table} ({columns}) VALUES ({places})",
                (tuple(getattr(row, name) for name in names) for row in rows),
            )

    def write_many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Run one statement for each of many tuples of values."""
        self.connection.cursor().executemany(sql, rows)
