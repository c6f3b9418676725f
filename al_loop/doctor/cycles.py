"""Check cycles: manifests of complete ones, and whether an open one can continue."""

from __future__ import annotations

import os
from collections.abc import Iterator

from al_loop.core.errors import AlLoopError, ConfigError
from al_loop.core.files import read_json
from al_loop.core.frozen_settings import UnreadableError, check, thawed
from al_loop.doctor.finding import CheckContext, Finding
from al_loop.loop.verify import verify
from al_loop.state.database.cycle_table import CycleRow, complete_numbers, open_cycles
from al_loop.state.database.pick_table import picks_of
from al_loop.state.database.stage_table import StageRow, stages_of
from al_loop.state.file_hashes import noted_file
from al_loop.state.id_list import POOL, pool_hash, read_pool
from al_loop.state.leftovers import foreign_folders
from al_loop.state.stages import sealed_hash, was_finished

_ABANDON = "al-loop cycle --abandon"
_RESTORE = "restore cycles/{number} from a backup"
#: Stages with a folder in the cycle, in order; the training has models/cycle-N.
_STAGES = ("score", "select", "push", "pull")


def finished(context: CheckContext) -> Iterator[Finding]:
    """Compare complete cycles with their manifests."""
    numbers = complete_numbers(context.workspace.store)
    with context.reporter.progress("examine cycles") as progress:
        for done, number in enumerate(numbers, start=1):
            manifest = context.workspace.cycle_dir(number) / "manifest.json"
            if not manifest.is_file():
                yield Finding("cycles.manifest", f"cycle {number}", "has no manifest", "al-loop cycle")
            elif not context.quick:
                for text in _changed(context, number):
                    yield Finding("cycles.verify", f"cycle {number}", text, _RESTORE.format(number=number))
            progress(done, len(numbers))


def _changed(context: CheckContext, number: int) -> list[str]:
    try:
        return [finding.text for finding in verify(context.workspace, number) if finding.changed]
    except (AlLoopError, OSError, ValueError, TypeError, LookupError) as error:
        return [f"cannot be held against its manifest ({error})"]


def under_way(context: CheckContext) -> Iterator[Finding]:
    """Check settings, pool, stages and picks of the open cycle."""
    rows = open_cycles(context.workspace.store)
    for row in rows[1:]:
        yield Finding(
            "cycles.two", f"cycle {row.number}", f"is open, and so is cycle {rows[0].number}", _ABANDON
        )
    for row in rows[:1]:
        yield from _open(context, row)


def _open(context: CheckContext, row: CycleRow) -> Iterator[Finding]:
    number = row.number
    subject, folder = f"cycle {number}", context.workspace.cycle_dir(number)
    yield from _settings(context, row)
    try:
        recorded = noted_file(context.workspace, folder / POOL)
        if recorded not in (None, pool_hash(read_pool(folder / POOL))):
            yield Finding(
                "cycles.pool", subject, "its list of the pool is not the one it began with", "al-loop cycle"
            )
    except (OSError, ValueError, TypeError) as error:
        yield Finding(
            "cycles.pool", subject, f"its list of the pool cannot be read ({error})", "al-loop cycle"
        )
    states = {stage.name: stage for stage in stages_of(context.workspace.store, f"cycle-{number}")}
    for name in _STAGES:
        if name in states and states[name].state == "done":
            yield from _stage(context, subject, number, states[name])
    for stage in states.values():
        if stage.state == "running" and context.at_work is None and _has_ended(stage.pid):
            yield Finding("cycles.crashed", subject, f"its stage {stage.name} was killed", "al-loop cycle")


def _settings(context: CheckContext, row: CycleRow) -> Iterator[Finding]:
    """Check the frozen settings; an older al-loop may have allowed more."""
    subject = f"cycle {row.number}"
    selected = was_finished(context.workspace.cycle_dir(row.number) / "select")
    try:
        check(thawed(row.settings), row.number, selected=selected)
    except UnreadableError as error:
        yield Finding("cycles.settings", subject, str(error), _ABANDON)
    except ConfigError as error:
        yield Finding("cycles.settings", subject, str(error), "al-loop cycle --refreeze")


def _stage(context: CheckContext, subject: str, number: int, stage: StageRow) -> Iterator[Finding]:
    name = stage.name
    folder = context.workspace.cycle_dir(number) / name
    # A second selection would pick other images.
    again = _ABANDON if name == "select" else "al-loop cycle"
    try:
        input_hash = sealed_hash(folder)
    except FileNotFoundError:
        yield Finding("cycles.stage", subject, f"what its stage {name} left is gone", again)
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        # The database has the same data, and the next run writes the file again.
        text = f"{name}/stage.json cannot be read ({error})"
        yield Finding("cycles.stage", subject, text, "al-loop cycle")
        return
    if input_hash != stage.input_hash:
        yield Finding("cycles.stage", subject, f"{name} was made from something else", again)
    if stage.name == "select":
        yield from _picks(context, subject, number)


def _picks(context: CheckContext, subject: str, number: int) -> Iterator[Finding]:
    path = context.workspace.cycle_dir(number) / "select" / "picks.json"
    try:
        chosen = [(pick["rank"], pick["image_id"]) for pick in read_json(path)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield Finding("cycles.picks", subject, f"select/picks.json cannot be read ({error})", "al-loop cycle")
        return
    rows = picks_of(context.workspace.store, number)
    if rows and sorted(chosen) != [(row.rank, row.image_id) for row in rows]:
        yield Finding(
            "cycles.picks", subject, "select/picks.json lists other picks than the database", "al-loop cycle"
        )


def unknown(context: CheckContext) -> Iterator[Finding]:
    """Find complete cycles and models that are not in the database, which is then too old."""
    for folder in foreign_folders(context.workspace):
        yield Finding(
            "database.older-than-files",
            str(folder.relative_to(context.workspace.root)),
            "the database does not know it: the database is of an earlier time",
            "restore the newest al-loop.db that there is; if this is of no use to you, move the folder away",
        )


def _has_ended(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False
