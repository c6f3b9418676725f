"""Check the database, and the settings against it."""

from __future__ import annotations

from collections.abc import Iterator

from al_loop.core.errors import WorkspaceError
from al_loop.doctor.finding import CheckContext, Finding
from al_loop.state.database.facts import read_fact
from al_loop.state.database.integrity import damages, dangling_references, schema_parts
from al_loop.state.database.sqlite_file import restoring
from al_loop.state.database.store import Store
from al_loop.state.workspace import DATABASE

_NAMED = 20


def integrity(context: CheckContext) -> Iterator[Finding]:
    """Find damaged pages, and indices that differ from their tables."""
    with context.reporter.progress("examine the database"):
        try:
            texts = damages(context.workspace.store, _NAMED, quick=context.quick)
        except WorkspaceError as error:
            texts = [str(error.__cause__ or error)]
    for damage in texts:
        yield Finding(
            "database.damaged",
            DATABASE,
            " ".join(damage.split()),
            restoring(context.workspace.root / DATABASE),
        )


def references(context: CheckContext) -> Iterator[Finding]:
    """Find rows that refer to missing rows."""
    for row in dangling_references(context.workspace.store):
        yield Finding(
            "database.references",
            f"{row.table}, row {row.rowid}",
            f"names a row of {row.parent} that is not there",
            restoring(context.workspace.root / DATABASE),
        )


def schema(context: CheckContext) -> Iterator[Finding]:
    """Find missing tables, columns, indices and triggers."""
    wanted = Store(":memory:")
    for kind, name in schema_parts(wanted) - schema_parts(context.workspace.store):
        yield Finding(
            "database.schema",
            DATABASE,
            f"the {kind} {name} is missing",
            restoring(context.workspace.root / DATABASE),
        )
    wanted.close()


def classes(context: CheckContext) -> Iterator[Finding]:
    """Compare the classes in al-loop.toml with those of the labels, which are stored as indices."""
    noted, current = read_fact(context.workspace.store, "classes"), context.workspace.config.classes
    if noted is not None and tuple(noted.split("\n")) != current:
        names = ", ".join(f'"{name}"' for name in noted.split("\n"))
        yield Finding(
            "settings.classes",
            "al-loop.toml",
            f"has the classes {', '.join(current)}; the labels are of {', '.join(noted.splitlines())}",
            f"write classes = [{names}] in al-loop.toml",
        )
