"""The database and the settings: can they be read, and do they fit each other?"""

from __future__ import annotations

from collections.abc import Iterator

from al_loop.core.errors import WorkspaceError
from al_loop.doctor.finding import CheckContext, Finding
from al_loop.state.database.sqlite_file import restoring
from al_loop.state.database.store import Store
from al_loop.state.workspace import DATABASE

_NAMED = 20


def integrity(context: CheckContext) -> Iterator[Finding]:
    """Damaged pages, and indices that say something else than their tables."""
    store = context.workspace.store
    what = "quick_check" if context.quick else "integrity_check"
    with context.reporter.progress("examine the database"):
        try:
            found = [str(row[0]) for row in store.rows(f"PRAGMA {what}({_NAMED})")]
        except WorkspaceError as error:
            found = [str(error.__cause__ or error)]
    for said in found:
        if said != "ok":
            yield Finding(
                "database.damaged",
                DATABASE,
                " ".join(said.split()),
                restoring(context.workspace.root / DATABASE),
            )


def references(context: CheckContext) -> Iterator[Finding]:
    """Rows that name a row which is not there: labels of an image, cycles of a model."""
    store = context.workspace.store
    for row in store.execute("PRAGMA foreign_key_check"):
        yield Finding(
            "database.references",
            f"{row['table']}, row {row['rowid']}",
            f"names a row of {row['parent']} that is not there",
            restoring(context.workspace.root / DATABASE),
        )


def schema(context: CheckContext) -> Iterator[Finding]:
    """Tables, columns, indices and triggers that every workspace has."""
    wanted = Store(":memory:")
    for kind, name in _things(wanted) - _things(context.workspace.store):
        yield Finding(
            "database.schema",
            DATABASE,
            f"the {kind} {name} is missing",
            restoring(context.workspace.root / DATABASE),
        )
    wanted.close()


def classes(context: CheckContext) -> Iterator[Finding]:
    """Labels are stored as indices of the classes: al-loop.toml must have those that they were drawn for."""
    row = context.workspace.store.row("SELECT value FROM facts WHERE key = 'classes'")
    there = context.workspace.config.classes
    if row is not None and tuple(row["value"].split("\n")) != there:
        made = ", ".join(f'"{name}"' for name in row["value"].split("\n"))
        yield Finding(
            "settings.classes",
            "al-loop.toml",
            f"has the classes {', '.join(there)}; the labels are of {', '.join(row['value'].splitlines())}",
            f"write classes = [{made}] in al-loop.toml",
        )


def _things(store: Store) -> set[tuple[str, str]]:
    rows = store.rows("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
    found = {(str(row["type"]), str(row["name"])) for row in rows}
    for kind, table in list(found):
        if kind == "table":
            found |= {
                ("column", f"{table}.{row['name']}") for row in store.rows(f'PRAGMA table_info("{table}")')
            }
    return found
