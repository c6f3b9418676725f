"""Rows of stages: their inputs, state and output."""

from __future__ import annotations

from dataclasses import dataclass

from al_loop.state.database.store import Store


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage of a job.

    job: 'cycle-3', 'pretrain-1', ...
    state: 'running', 'waiting', 'done' or 'failed'.
    output: JSON, once done.
    pid: of the process that began it.
    """

    job: str
    name: str
    input_hash: str
    state: str
    output: str | None
    pid: int | None
    started_at: str
    finished_at: str | None


def read_stage(store: Store, job: str, name: str) -> StageRow | None:
    """Return a stage of a job."""
    return store.first(StageRow, "SELECT * FROM stages WHERE job = ? AND name = ?", job, name)


def stages_of(store: Store, job: str) -> list[StageRow]:
    """Return the stages of a job, in the order in which they began."""
    return store.all(StageRow, "SELECT * FROM stages WHERE job = ? ORDER BY rowid", job)


def begin_stage(store: Store, job: str, name: str, input_hash: str, pid: int, at: str) -> None:
    """Store a stage as running."""
    row = StageRow(job, name, input_hash, "running", None, pid, at, None)
    store.insert("stages", [row], "REPLACE")


def mark_stage(store: Store, job: str, name: str, state: str) -> None:
    """Set the state of a stage: 'waiting' or 'failed'."""
    store.execute("UPDATE stages SET state = ? WHERE job = ? AND name = ?", state, job, name)


def finish_stage(store: Store, job: str, name: str, input_hash: str, output: str, at: str) -> None:
    """Store a stage as done, with its output."""
    store.execute(
        "INSERT INTO stages VALUES (?, ?, ?, 'done', ?, NULL, ?, ?) ON CONFLICT (job, name) DO UPDATE SET "
        "state = 'done', input_hash = excluded.input_hash, output = excluded.output, "
        "finished_at = excluded.finished_at",
        *(job, name, input_hash, output, at, at),
    )
