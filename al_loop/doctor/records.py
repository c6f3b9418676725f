"""Check the database, and the settings against it."""

from __future__ import annotations

from collections.abc import Iterator

from al_loop.core.errors import WorkspaceError
from al_loop.doctor.finding import CheckContext, Finding
from al_loop.state.database.facts import read_fact
from al_loop.state.database.integrity import damages, dangling_references, missing_parts
from al_loop.state.database.sqlite_file import restoring
from al_loop.state.workspace import DATABASE

_NAMED = 20


def integrity(context: CheckContext) -> Iterator[Finding]:
    """Find damaged pages, and indices that differ from their tables."""
    with context.reporter.progress("examine the database"):
        try:
            texts = damages(context.workspace.store, _NAMED, quick=context.quick)
        except WorkspaceError as error:
            texts = [str(error.__cause__ or error)]
    for text in texts:
        yield _finding(context, "database.damaged", DATABASE, " ".join(text.split()))


def references(context: CheckContext) -> Iterator[Finding]:
    """Find rows that refer to missing rows."""
    for row in dangling_references(context.workspace.store):
        problem = f"refers to a missing row of {row.parent}"
        yield _finding(context, "database.references", f"{row.table}, row {row.rowid}", problem)


def schema(context: CheckContext) -> Iterator[Finding]:
    """Find missing tables, columns, indices and triggers."""
    for kind, name in missing_parts(context.workspace.store):
        yield _finding(context, "database.schema", DATABASE, f"the {kind} {name} is missing")


def _finding(context: CheckContext, check: str, subject: str, problem: str) -> Finding:
    return Finding(check, subject, problem, restoring(context.workspace.root / DATABASE))


def classes(context: CheckContext) -> Iterator[Finding]:
    """Compare the classes in al-loop.toml with those of the labels, which are stored as indices."""
    stored, current = read_fact(context.workspace.store, "classes"), context.workspace.config.classes
    if stored is not None and tuple(stored.split("\n")) != current:
        names = ", ".join(f'"{name}"' for name in stored.split("\n"))
        problem = f"has the classes {', '.join(current)}; the labels are of {', '.join(stored.splitlines())}"
        yield Finding(
            "settings.classes", "al-loop.toml", problem, f"write classes = [{names}] in al-loop.toml"
        )
