"""Facts: single values that the workspace stores by a key."""

from __future__ import annotations

from al_loop.state.database.store import Store


def read_fact(store: Store, key: str) -> str | None:
    """Return the value of a fact, or None if it does not exist."""
    return store.text("SELECT value FROM facts WHERE key = ?", key)


def write_fact(store: Store, key: str, value: str) -> None:
    """Store a fact. Replace an older value."""
    store.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", key, value)


def first_fact(store: Store, key: str, value: str) -> str:
    """Store a fact unless it exists. Return the stored value."""
    store.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", key, value)
    return read_fact(store, key) or value


def forget_facts(store: Store, prefix: str) -> None:
    """Delete all facts whose keys begin with `prefix`. `%` and `_` in the prefix are wildcards."""
    store.execute("DELETE FROM facts WHERE key LIKE ?", f"{prefix}%")
