"""Facts: single values that the workspace remembers by a key."""

from __future__ import annotations

from al_loop.state.database.store import Store


def read_fact(store: Store, key: str) -> str | None:
    """Return the value of a fact, None where it is not known."""
    values = store.column("SELECT value FROM facts WHERE key = ?", key)
    return str(values[0]) if values else None


def write_fact(store: Store, key: str, value: str) -> None:
    """Remember a fact; an older value is replaced."""
    store.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", key, value)


def first_fact(store: Store, key: str, value: str) -> str:
    """Remember a fact unless it is known already; return what is known."""
    store.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", key, value)
    values = store.column("SELECT value FROM facts WHERE key = ?", key)
    return str(values[0])


def forget_facts(store: Store, prefix: str) -> None:
    """Forget all facts whose keys begin so; `%` and `_` are wildcards."""
    store.execute("DELETE FROM facts WHERE key LIKE ?", f"{prefix}%")
