"""Rows of what people say about single boxes of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from al_loop.state.database.store import Store

#: The answers: right, no object, another class, an object with a box of another place or size.
Verdict = Literal["right", "wrong", "class", "off"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """An answer about a box.

    box: JSON [x1, y1, x2, y2, class index] in px.
    label: class index, of the box unless the verdict is 'class'.
    session: name that all answers between start and end of the page share.
    """

    image_id: str
    box: str
    model_id: str
    score: float
    verdict: Verdict
    label: int
    session: str
    seconds: float
    answered_at: str


def write_verdict(store: Store, row: VerdictRow) -> None:
    """Store an answer. It replaces an earlier answer about the same box."""
    store.insert("verdicts", [row], "REPLACE")


def delete_verdict(store: Store, image_id: str, box: str) -> None:
    """Take an answer back."""
    store.execute("DELETE FROM verdicts WHERE image_id = ? AND box = ?", image_id, box)


def all_verdicts(store: Store) -> list[VerdictRow]:
    """Return all answers, by image and box. A database of an older al-loop, opened to be read, has none."""
    tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'verdicts'"
    if not store.count(tables):
        return []
    return store.all(VerdictRow, "SELECT * FROM verdicts ORDER BY image_id, box")


def unlabelled_with_verdicts(store: Store) -> set[str]:
    """Return the images of the pool that have answers and no label."""
    return set(
        store.column(
            "SELECT id FROM images WHERE role = 'pool' AND id IN (SELECT image_id FROM verdicts) "
            "AND id NOT IN (SELECT image_id FROM labels)"
        )
    )
