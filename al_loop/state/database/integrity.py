"""Check databases, also of other programs: damage, dangling references, the parts of a schema."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from al_loop.state.database.migrations import MIGRATIONS
from al_loop.state.database.store import Store


@dataclass(frozen=True, slots=True)
class DanglingReference:
    """A row of `table` that refers to a row of `parent` that does not exist."""

    table: str
    rowid: int
    parent: str


def damages(store: Store, limit: int, *, quick: bool) -> list[str]:
    """Return up to `limit` lines about damage that SQLite finds. quick: do not compare indices to tables."""
    check = "quick_check" if quick else "integrity_check"
    return [line for line in store.column(f"PRAGMA {check}({limit})") if line != "ok"]


def dangling_references(store: Store) -> list[DanglingReference]:
    """Return the rows whose foreign keys refer to no row."""
    rows = store.rows("PRAGMA foreign_key_check")
    return [DanglingReference(row["table"], row["rowid"], row["parent"]) for row in rows]


def missing_parts(store: Store) -> set[tuple[str, str]]:
    """Return the parts that a database of its version has and this one lacks, as (kind, name).

    Kinds are those of SQLite, and 'column' with the name 'table.name'.
    """
    with closing(sqlite3.connect(":memory:")) as complete:
        for script in MIGRATIONS[: store.count("PRAGMA user_version")]:
            complete.executescript(script)
        return _parts(complete.execute) - _parts(store.execute)


def _parts(execute: Callable[[str], sqlite3.Cursor]) -> set[tuple[str, str]]:
    parts = {(kind, name) for kind, name in execute("SELECT type, name FROM sqlite_master")}
    tables = [name for kind, name in parts if kind == "table"]
    return parts | {
        ("column", f"{table}.{row[1]}")
        for table in tables
        for row in execute(f'PRAGMA table_info("{table}")')
    }


def first_damage(path: Path) -> str | None:
    """Return the first damage in another program's database, or None. Raises sqlite3.Error."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as database:
        result = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    return None if result == "ok" else result


def row_count(path: Path, table: str) -> int:
    """Return the number of rows of a table in another program's database.

    Raises sqlite3.Error without the table.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:
        return int(database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])
