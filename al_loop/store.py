"""The workspace's database: SQLite in WAL mode, its schema moved forward by numbered migrations."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from al_loop.errors import WorkspaceError

# Each entry lifts the schema by one version; entries are never changed, only added.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE images (
        id TEXT PRIMARY KEY,              -- SHA-256 of the file as it came in
        file TEXT NOT NULL,               -- below the workspace
        stored_sha256 TEXT NOT NULL,      -- differs from id where the EXIF orientation was applied
        width INTEGER NOT NULL, height INTEGER NOT NULL,  -- px, as stored
        source TEXT NOT NULL,             -- the path it came from
        role TEXT NOT NULL CHECK (role IN ('pool', 'validation')),
        added_at TEXT NOT NULL
    ) STRICT;
    CREATE INDEX images_role ON images (role);

    CREATE TABLE labels (
        image_id TEXT PRIMARY KEY REFERENCES images (id),
        status TEXT NOT NULL CHECK (status IN ('labelled', 'empty', 'skipped')),
        boxes TEXT NOT NULL,              -- JSON [[x1, y1, x2, y2, class index], ...] in px
        cycle INTEGER,                    -- NULL: came with the validation set
        annotator TEXT,
        lead_time_s REAL,
        updated_at TEXT NOT NULL
    ) STRICT;

    CREATE TABLE models (
        id TEXT PRIMARY KEY,
        parent TEXT REFERENCES models (id),
        origin TEXT NOT NULL,             -- 'pretrain', 'import' or 'cycle'
        cycle INTEGER,
        weights_sha256 TEXT NOT NULL,
        created_at TEXT NOT NULL
    ) STRICT;

    CREATE TABLE evaluations (
        model_id TEXT NOT NULL REFERENCES models (id),
        validation_hash TEXT NOT NULL,
        metrics TEXT NOT NULL,            -- JSON of al_loop.samples.Metrics
        PRIMARY KEY (model_id, validation_hash)
    ) STRICT;

    CREATE TABLE promotions (             -- the newest row names the current model
        id INTEGER PRIMARY KEY,
        model_id TEXT NOT NULL REFERENCES models (id),
        reason TEXT NOT NULL,
        at TEXT NOT NULL
    ) STRICT;

    CREATE TABLE cycles (
        number INTEGER PRIMARY KEY,
        k INTEGER NOT NULL,               -- as asked for
        settings TEXT NOT NULL,           -- JSON, frozen when the cycle began
        model_id TEXT NOT NULL REFERENCES models (id),
        outcome TEXT,                     -- NULL while it runs; 'promoted' or 'kept'
        reason TEXT,
        started_at TEXT NOT NULL, finished_at TEXT
    ) STRICT;

    CREATE TABLE picks (
        cycle INTEGER NOT NULL REFERENCES cycles (number),
        rank INTEGER NOT NULL,
        image_id TEXT NOT NULL REFERENCES images (id),
        uncertainty REAL NOT NULL,
        reason TEXT NOT NULL,
        task_key TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL DEFAULT 'selected',  -- then what the labelling server says
        PRIMARY KEY (cycle, rank), UNIQUE (cycle, image_id)
    ) STRICT;

    CREATE TABLE stages (
        job TEXT NOT NULL,                -- 'cycle-3', 'pretrain', ...
        name TEXT NOT NULL,
        input_hash TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('running', 'waiting', 'done', 'failed')),
        output TEXT,                      -- JSON, once done
        pid INTEGER, started_at TEXT NOT NULL, finished_at TEXT,
        PRIMARY KEY (job, name)
    ) STRICT;

    CREATE TABLE datasets (
        name TEXT PRIMARY KEY,            -- folder below synthetic/
        recipe TEXT NOT NULL, images INTEGER NOT NULL, created_at TEXT NOT NULL
    ) STRICT;

    CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    """,
)


class Store:
    """One connection to the database, with rows as mappings and explicit transactions."""

    def __init__(self, path: Path | str) -> None:
        """Open or create the database and bring its schema up to date.

        Raises WorkspaceError for a database of a newer al-loop, or one that is damaged.
        """
        self.path = path
        self.connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self.connection.close()
            raise WorkspaceError(
                f"{path} cannot be used as a database ({error}). Restore it from a backup."
            ) from None
        except WorkspaceError:
            self.connection.close()
            raise

    def _prepare(self) -> None:
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA foreign_keys = ON")
        version = self.connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise WorkspaceError(
                f"{self.path} was made by a newer al-loop (schema {version}, this one knows "
                f"{len(MIGRATIONS)}). Upgrade al-loop, then run again"
            )
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            # The schema and its number change together or not at all.
            self.connection.executescript(
                f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;"
            )

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything inside, or nothing."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
        """Run one statement; outside a transaction it commits by itself."""
        return self.connection.execute(sql, values)

    def row(self, sql: str, *values: object) -> sqlite3.Row | None:
        """Return the first row or None."""
        row: sqlite3.Row | None = self.connection.execute(sql, values).fetchone()
        return row

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """Return all rows."""
        return self.connection.execute(sql, values).fetchall()

    def count(self, sql: str, *values: object) -> int:
        """Return the single number that the statement asks for."""
        return int(self.connection.execute(sql, values).fetchone()[0])
