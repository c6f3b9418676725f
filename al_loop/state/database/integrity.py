"""Integrity of databases: damage, dangling references, the parts of a schema; also of databases of other programs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from al_loop.state.database.store import Store


@dataclass(frozen=True, slots=True)
class DanglingReference:
    """A row of `table` that names a row of `parent` which does not exist."""

    table: str
    rowid: int
    parent: str


def damages(store: Store, limit: int, *, quick: bool) -> list[str]:
    """Return what SQLite finds damaged, `limit` lines at most; quick: without comparing indices to tables."""
    check = "quick_check" if quick else "integrity_check"
    return [line for line in store.column(f"PRAGMA {check}({limit})") if line != "ok"]


def dangling_references(store: Store) -> list[DanglingReference]:
    """Return the rows whose foreign keys name no row."""
    return [
        DanglingReference(row["table"], row["rowid"], row["parent"])
        for row in store.rows("PRAGMA foreign_key_check")
    ]


def schema_parts(store: Store) -> set[tuple[str, str]]:
    """Return (kind, name) of tables, indices, views and triggers, and ('column', 'table.name') of columns."""
    rows = store.rows("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
    parts = {(str(row["type"]), str(row["name"])) for row in rows}
    tables = [name for kind, name in parts if kind == "table"]
    return parts | {
        ("column", f"{table}.{row['name']}")
        for table in tables
        for row in store.rows(f'PRAGMA table_info("{table}")')
    }


def first_damage(path: Path) -> str | None:
    """Return the first damage in the file of another program's database, None where it is whole; sqlite3.Error."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as database:
        found = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    return None if found == "ok" else found


def row_count(path: Path, table: str) -> int:
    """Return how many rows a table of another program's database has; sqlite3.Error where there is no such table."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:
        return int(database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])
