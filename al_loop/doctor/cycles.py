"""Check cycles: manifests of complete ones, and whether an open one can continue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import psutil

from al_loop.core.errors import AlLoopError, ConfigError
from al_loop.core.files import read_json
from al_loop.core.frozen_settings import UnreadableError, check, thawed
from al_loop.doctor.finding import CheckContext, Finding
from al_loop.loop.cycle_record import check_task, push_has_begun
from al_loop.loop.verify import verify
from al_loop.state.database.cycle_table import CycleRow, complete_numbers, open_cycles
from al_loop.state.database.pick_table import picks_of
from al_loop.state.database.stage_table import StageRow, stages_of
from al_loop.state.file_hashes import noted_file
from al_loop.state.id_list import POOL, pool_hash, read_pool
from al_loop.state.leftovers import foreign_folders
from al_loop.state.stages import sealed_hash, was_finished

_CONTINUE = "al-loop cycle"
_ABANDON = "al-loop cycle --abandon"
_REFREEZE = "al-loop cycle --refreeze"
#: Stages with a folder in the cycle, in order; the training has models/cycle-N.
_STAGES = ("score", "select", "push", "pull", "review")
#: Check, problem and mend of a finding about a cycle.
_Problems = Iterator[tuple[str, str, str]]


def finished(context: CheckContext) -> Iterator[Finding]:
    """Compare complete cycles with their manifests."""
    for number in context.each("examine cycles", complete_numbers(context.workspace.store)):
        if not (context.workspace.cycle_dir(number) / "manifest.json").is_file():
            yield Finding("cycles.manifest", f"cycle {number}", "has no manifest", _CONTINUE)
        elif not context.quick:
            mend = f"restore cycles/{number} from a backup"
            for text in _changed(context, number):
                yield Finding("cycles.verify", f"cycle {number}", text, mend)


def _changed(context: CheckContext, number: int) -> list[str]:
    try:
        return [finding.text for finding in verify(context.workspace, number) if finding.changed]
    except (AlLoopError, OSError, ValueError, TypeError, LookupError) as error:
        return [f"cannot be compared with its manifest ({error})"]


def under_way(context: CheckContext) -> Iterator[Finding]:
    """Check settings, pool, stages and picks of the open cycle."""
    rows = open_cycles(context.workspace.store)
    for row in rows[1:]:
        problem = f"is open, and so is cycle {rows[0].number}"
        yield Finding("cycles.two", f"cycle {row.number}", problem, _ABANDON)
    for row in rows[:1]:
        for problems in (_settings, _task, _pool, _stages):
            for check_name, text, mend in problems(context, row):
                yield Finding(f"cycles.{check_name}", f"cycle {row.number}", text, mend)


def _settings(context: CheckContext, row: CycleRow) -> _Problems:
    """Check the frozen settings; an older al-loop may have allowed more."""
    selected = was_finished(context.workspace.cycle_dir(row.number) / "select")
    try:
        check(thawed(row.settings), row.number, selected=selected)
    except UnreadableError as error:
        yield "settings", str(error), _ABANDON
    except ConfigError as error:
        yield "settings", str(error), _REFREEZE


def _task(context: CheckContext, row: CycleRow) -> _Problems:
    """Check whether people label for another `task` than al-loop.toml has."""
    with suppress(UnreadableError):  # `_settings` reports it
        settings = thawed(row.settings)
        try:
            check_task(context.workspace, row.number, settings)
        except ConfigError as error:
            pushed = push_has_begun(context.workspace, row.number)
            yield "task", str(error), _ABANDON if pushed else _REFREEZE


def _pool(context: CheckContext, row: CycleRow) -> _Problems:
    path = context.workspace.cycle_dir(row.number) / POOL
    try:
        if noted_file(context.workspace, path) not in (None, pool_hash(read_pool(path))):
            yield "pool", "its list of the pool has changed since it began", _CONTINUE
    except (OSError, ValueError, TypeError) as error:
        yield "pool", f"its list of the pool cannot be read ({error})", _CONTINUE


def _stages(context: CheckContext, row: CycleRow) -> _Problems:
    stages = {stage.name: stage for stage in stages_of(context.workspace.store, f"cycle-{row.number}")}
    for name in _STAGES:
        if name in stages and stages[name].state == "done":
            yield from _stage(context, row.number, stages[name])
    for stage in stages.values():
        killed = stage.pid is not None and not psutil.pid_exists(stage.pid)
        if stage.state == "running" and context.at_work is None and killed:
            yield "crashed", f"its stage {stage.name} was killed", _CONTINUE


def _stage(context: CheckContext, number: int, stage: StageRow) -> _Problems:
    name = stage.name
    # A second selection would pick other images.
    again = _ABANDON if name == "select" else _CONTINUE
    try:
        input_hash = sealed_hash(context.workspace.cycle_dir(number) / name)
    except FileNotFoundError:
        yield "stage", f"the output of its stage {name} is gone", again
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        # The database has the same data, and the next run writes the file again.
        yield "stage", f"{name}/stage.json cannot be read ({error})", _CONTINUE
        return
    if input_hash != stage.input_hash:
        yield "stage", f"the output of its stage {name} is of other inputs", again
    if name == "select":
        yield from _picks(context, number)


def _picks(context: CheckContext, number: int) -> _Problems:
    path = context.workspace.cycle_dir(number) / "select" / "picks.json"
    try:
        chosen = sorted((pick["rank"], pick["image_id"]) for pick in read_json(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield "picks", f"select/picks.json cannot be read ({error})", _CONTINUE
        return
    rows = picks_of(context.workspace.store, number)
    if rows and chosen != [(row.rank, row.image_id) for row in rows]:
        yield "picks", "select/picks.json lists other picks than the database", _CONTINUE


def unknown(context: CheckContext) -> Iterator[Finding]:
    """Find complete cycles and models that are not in the database, which is then too old."""
    for folder in foreign_folders(context.workspace):
        yield Finding(
            "database.older-than-files",
            str(folder.relative_to(context.workspace.root)),
            "is missing in the database, which is older",
            "restore the newest al-loop.db; if none is newer, move the folder away",
        )
