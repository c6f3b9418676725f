"""Resumable stages: work in `<name>.partial`, rename it, then mark the stage as done.

Job, name and a hash of the inputs identify a stage. A finished stage returns its output again. A killed stage
continues in its partial folder. A stage with other inputs starts in an empty folder.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from al_loop.core.errors import WorkspaceError
from al_loop.core.files import json_hash, read_json, write_json
from al_loop.state.database.stage_table import StageRow, begin_stage, finish_stage, mark_stage, read_stage
from al_loop.state.database.store import Store
from al_loop.state.workspace import Workspace, now

Output = dict[str, Any]
_SEAL = "stage.json"


class _Seal(msgspec.Struct):
    """The content of `stage.json`, the last file that a stage writes."""

    input_hash: str = ""
    output: Output = {}


class Waiting(Exception):  # noqa: N818 (it is no error)
    """Raised if a stage must wait until people have done something. This is not an error."""


@dataclass(frozen=True)
class Stage:
    """A unit of work that is done once for its inputs.

    job: 'cycle-3', 'pretrain-1', ...
    folder: holds the files that the work writes.
    inputs: JSON-serialisable. The stage is repeated if they change.
    valid: gets the output, and returns whether its files are intact. It may repair them. If it returns False,
        the stage is repeated.
    """

    job: str
    name: str
    folder: Path
    inputs: Mapping[str, Any]
    valid: Callable[[Output], bool] = lambda _: True


def run_stage(store: Store, stage: Stage, work: Callable[[Path], Output]) -> Output:
    """Return the output of a stage. Do the work unless a valid output for these inputs exists.

    work: gets the folder to write to, which holds the files of a killed run. It returns the output. If it
        raises Waiting, the next run repeats the stage.
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
        # The work of a run that was killed between the seal and the rename is complete.
        output = _sealed_output(partial, digest)
        if output is None:
            output = work(partial)
    except Exception as error:
        mark_stage(store, stage.job, stage.name, "waiting" if isinstance(error, Waiting) else "failed")
        raise
    _write_seal(partial, digest, output)
    if stage.folder.exists():
        shutil.rmtree(stage.folder)
    os.replace(partial, stage.folder)
    _finish(store, stage, digest, output)
    return output


def finished(store: Store, stage: Stage) -> Output | None:
    """Return the output of a stage that is done for these inputs, else None."""
    digest = json_hash(stage.inputs)
    row = _done(store, stage.job, stage.name)
    if row is not None and row.input_hash == digest and was_finished(stage.folder):
        # The row is authoritative. A file that differs was edited.
        output = _parsed(row.output)
        if _read_seal(stage.folder) != _Seal(digest, output):
            _write_seal(stage.folder, digest, output)
        return output
    sealed = _sealed_output(stage.folder, digest)
    if sealed is not None:
        # The run was killed between the rename and the row: the work is complete, only the row is missing.
        _finish(store, stage, digest, sealed)
    return sealed


def output_of(store: Store, job: str, name: str, folder: Path) -> Output:
    """Return the output of a finished stage, whatever its inputs were. Empty before it is done.

    The row of the database is authoritative. `stage.json` is read if no row has an output.
    """
    if not folder.is_dir():
        return {}
    row = _done(store, job, name)
    if row and row.output:
        return _parsed(row.output)
    seal = _read_seal(folder)
    return seal.output if seal else {}


def output_of_cycle(workspace: Workspace, number: int, name: str) -> Output:
    """Return the output of a finished stage in the folder of a cycle. Empty before it is done."""
    return output_of(workspace.store, f"cycle-{number}", name, workspace.cycle_dir(number) / name)


def sealed_hash(folder: Path) -> str:
    """Read the hash of inputs from `stage.json`. Raises OSError, ValueError, KeyError or TypeError."""
    return str(read_json(folder / _SEAL)["input_hash"])


def is_done(store: Store, job: str, name: str) -> bool:
    """Whether the database marks a stage as done."""
    return _done(store, job, name) is not None


def was_finished(folder: Path) -> bool:
    """Whether a folder belongs to a finished stage."""
    return (folder / _SEAL).is_file()


def is_sealed(store: Store, job: str, name: str, folder: Path) -> bool:
    """Whether `stage.json` agrees with the database, or the database has no such stage."""
    row = _done(store, job, name)
    return row is None or _read_seal(folder) == _Seal(row.input_hash, _parsed(row.output))


def _parsed(text: str | None) -> Output:
    """Parse the output in a row. Raises WorkspaceError if it is damaged."""
    try:
        output: Any = json.loads(text or "")
    except (ValueError, RecursionError):
        output = None
    if isinstance(output, dict):
        return output
    raise WorkspaceError(
        "al-loop.db: the output of a stage is damaged. See what is wrong: al-loop doctor. Then restore "
        "al-loop.db from a backup"
    )


def _read_seal(folder: Path) -> _Seal | None:
    """Return the content of `stage.json`. None if it is missing or damaged."""
    try:
        return msgspec.convert(read_json(folder / _SEAL), _Seal)
    except (OSError, ValueError, RecursionError, msgspec.ValidationError):
        return None


def _sealed_output(folder: Path, digest: str) -> Output | None:
    """Return the sealed output for these inputs, if any. Raises WorkspaceError for a damaged seal."""
    seal = _read_seal(folder)
    if seal is None and was_finished(folder):
        raise WorkspaceError(
            f"{folder / _SEAL} cannot be read. Restore it from a backup; or see which stages can be "
            "repeated: al-loop doctor"
        )
    return seal.output if seal and seal.input_hash == digest else None


def _write_seal(folder: Path, digest: str, output: Output) -> None:
    write_json(folder / _SEAL, {"input_hash": digest, "output": output})


def _clear_if_changed(partial: Path, digest: str) -> None:
    """Keep the files of a killed run with the same inputs. Remove all others."""
    marker = partial / ".inputs"
    if partial.exists() and (not marker.is_file() or marker.read_text() != digest):
        shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    marker.write_text(digest)


def _finish(store: Store, stage: Stage, digest: str, output: Output) -> None:
    finish_stage(store, stage.job, stage.name, digest, json.dumps(output), now())


def _done(store: Store, job: str, name: str) -> StageRow | None:
    row = read_stage(store, job, name)
    return row if row is not None and row.state == "done" else None
