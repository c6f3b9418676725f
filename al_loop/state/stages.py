"""Resumable stages: work in `<name>.partial`, rename into place, and only then say that it is done.

A stage is known by its job and name, and by a hash of its inputs. Run again, a finished stage returns
what it returned; one that was killed goes on in the same partial folder; one whose inputs changed
starts afresh.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from al_loop.core.errors import WorkspaceError
from al_loop.core.files import json_hash, read_json, write_json
from al_loop.state.database.stage_table import StageRow, begin_stage, finish_stage, mark_stage, read_stage
from al_loop.state.database.store import Store
from al_loop.state.workspace import now

Output = dict[str, Any]
_SEAL = "stage.json"


class Waiting(Exception):  # noqa: N818 (it is no error)
    """A stage cannot go on before people have done something; not an error."""


@dataclass(frozen=True)
class Stage:
    """A unit of work that is done once for its inputs.

    job: 'cycle-3', 'pretrain-1', ...
    folder: holds what the work leaves.
    inputs: JSON-serialisable; the stage is done again when they change.
    valid: says of an output whether what the work left is still whole, and may mend it; else the stage is done again.
    """

    job: str
    name: str
    folder: Path
    inputs: Mapping[str, Any]
    valid: Callable[[Output], bool] = lambda _: True


def run_stage(store: Store, stage: Stage, work: Callable[[Path], Output]) -> Output:
    """Return the output of a stage; do the work unless it was done for these inputs, and what it left is valid.

    work: gets the folder to write in, which holds what a killed run left there; returns the output.
    It may raise Waiting: the next run does the stage again.
    """
    digest = json_hash(stage.inputs)
    done = finished(store, stage)
    if done is not None:
        if stage.valid(done):
            return done
        shutil.rmtree(stage.folder)
    partial = stage.folder.with_name(f"{stage.folder.name}.partial")
    _clear_if_changed(partial, digest)
    begin_stage(store, stage.job, stage.name, digest, os.getpid(), now())
    try:
        # Killed between the seal and the rename, the work is whole already.
        output = _sealed(partial, digest)
        if output is None:
            output = work(partial)
    except Waiting:
        _mark(store, stage, "waiting")
        raise
    except Exception:
        _mark(store, stage, "failed")
        raise
    _seal(partial, digest, output)
    if stage.folder.exists():
        shutil.rmtree(stage.folder)
    os.replace(partial, stage.folder)
    _finish(store, stage, digest, output)
    return output


def finished(store: Store, stage: Stage) -> Output | None:
    """Return the output of a stage that is done for these inputs, else None."""
    digest = json_hash(stage.inputs)
    row = _done(store, stage.job, stage.name)
    if row is not None and row.input_hash == digest and (stage.folder / _SEAL).is_file():
        # The row is what counts; a file that says something else was changed.
        known = _noted(row.output)
        if not _says(stage.folder, digest, known):
            _seal(stage.folder, digest, known)
        return known
    output = _sealed(stage.folder, digest)
    if output is not None:
        # Killed between the rename and the row: the work is whole, only the row is missing.
        _finish(store, stage, digest, output)
    return output


def output_of(store: Store, job: str, name: str, folder: Path) -> Output:
    """Return the output of a stage that is done, whatever its inputs were; empty before.

    It is the database's. The file in the stage's folder is read where that has none; without the folder nothing is done.
    """
    if not folder.is_dir():
        return {}
    row = _done(store, job, name)
    return _noted(row.output) if row and row.output else _noted_in(folder)


def _noted(text: str | None) -> Output:
    """Return the output of a stage as the database has it; WorkspaceError where that is damaged."""
    try:
        output: Any = json.loads(text or "")
    except (ValueError, RecursionError):
        output = None
    if isinstance(output, dict):
        return output
    raise WorkspaceError(
        "al-loop.db: what a stage noted there is damaged. See what is wrong: al-loop doctor. Then restore al-loop.db from "
        "a backup"
    )


def _noted_in(folder: Path) -> Output:
    """Return the output in the folder of a finished stage; empty where that is missing or damaged."""
    try:
        output = read_json(folder / _SEAL)["output"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return output if isinstance(output, dict) else {}


def sealed_hash(folder: Path) -> str:
    """Return the hash of the inputs of the stage that has left a folder; OSError, ValueError, KeyError or TypeError."""
    return str(read_json(folder / _SEAL)["input_hash"])


def is_done(store: Store, job: str, name: str) -> bool:
    """Whether the database says that a stage is done."""
    return _done(store, job, name) is not None


def was_finished(folder: Path) -> bool:
    """Whether a stage has left this folder at its end."""
    return (folder / _SEAL).is_file()


def is_sealed(store: Store, job: str, name: str, folder: Path) -> bool:
    """Whether `stage.json` in a finished stage's folder says what the database does; also where that knows no such stage."""
    row = _done(store, job, name)
    return row is None or _says(folder, row.input_hash, _noted(row.output))


def _says(folder: Path, digest: str, output: Output) -> bool:
    """Whether the file in a stage's folder is what the database says."""
    try:
        return bool(read_json(folder / _SEAL) == {"input_hash": digest, "output": output})
    except (OSError, ValueError, RecursionError):
        return False


def _sealed(folder: Path, digest: str) -> Output | None:
    """Return what is written in a folder whose work was finished for these inputs."""
    seal = folder / _SEAL
    try:
        sealed = read_json(seal) if seal.is_file() else {}
        output: Output | None = sealed["output"] if sealed.get("input_hash") == digest else None
    except (OSError, ValueError, AttributeError, LookupError) as error:
        raise WorkspaceError(
            f"{seal} cannot be read ({error}). Restore it from a backup; or see what can be done again: al-loop doctor"
        ) from None
    return output


def _seal(folder: Path, digest: str, output: Output) -> None:
    write_json(folder / _SEAL, {"input_hash": digest, "output": output})


def _clear_if_changed(partial: Path, digest: str) -> None:
    """Keep what a killed run left for the same inputs; remove anything else."""
    marker = partial / ".inputs"
    if partial.exists() and (not marker.is_file() or marker.read_text() != digest):
        shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    marker.write_text(digest)


def _mark(store: Store, stage: Stage, state: str) -> None:
    mark_stage(store, stage.job, stage.name, state)


def _finish(store: Store, stage: Stage, digest: str, output: Output) -> None:
    finish_stage(store, stage.job, stage.name, digest, json.dumps(output), now())


def _done(store: Store, job: str, name: str) -> StageRow | None:
    row = read_stage(store, job, name)
    return row if row is not None and row.state == "done" else None
