"""Ways out of a cycle that cannot go on: other settings, or its end without a new model."""

from __future__ import annotations

import shutil

import msgspec

from al_loop.core.console import Reporter
from al_loop.core.errors import AlLoopError, ConfigError, DataError, LabelStudioError
from al_loop.core.frozen_settings import UnreadableError, check, refrozen, thawed
from al_loop.labelling import sync
from al_loop.labelling.open_tasks import queue_address
from al_loop.loop.cycle_record import freeze_pool, live_settings, open_cycle_number, open_cycle_row, pushing
from al_loop.state.database import cycle_table, pick_table
from al_loop.state.database.cycle_table import ABANDONED
from al_loop.state.database.label_table import status_counts_of_cycle
from al_loop.state.stages import output_of
from al_loop.state.workspace import Workspace, now

#: Said below an error that the same command, repeated, may end with again.
WAYS_OUT = (
    "Cycle {number} stays under way, with its labels. With other settings: al-loop cycle --refreeze. "
    "To give it up and keep its labels: al-loop cycle --abandon"
)


def refreeze(workspace: Workspace, k: int | None, reporter: Reporter) -> None:
    """Take the settings of al-loop.toml into the open cycle, and say which.

    Before a task is pushed, that is all of them, and images are selected anew. After that, what the images were selected
    with stays: they are being labelled.  k: another number of images, before the push only.
    Raises DataError without an open cycle, ConfigError for a setting that stays and cannot be used, or for a late k.
    """
    row = open_cycle_row(workspace)
    if row is None:
        raise DataError(
            "no cycle is under way: the next one takes al-loop.toml as it is. Begin it: al-loop cycle"
        )
    number, pushed = row.number, pushing(workspace, row.number)
    if pushed and k is not None and k != row.k:
        raise ConfigError(
            f"cycle {number} was pushed with k = {row.k}: expected no other k, got {k}. Leave --k out, or give the cycle "
            "up and keep its labels: al-loop cycle --abandon"
        )
    found = refrozen(thawed(row.settings), workspace.config, selected=pushed)
    check(live_settings(workspace, found.settings), number, selected=pushed)
    for line in found.changed:
        reporter.line(f"  {line}")
    for line in found.kept:
        reporter.line(f"  {line}: its images are chosen")
    if k is None:
        k = found.settings.cycle.k if any(line.startswith("cycle.k:") for line in found.changed) else row.k
    if not found.changed and k == row.k:
        reporter.line(f"cycle {number}: al-loop.toml says nothing else than it goes on with")
        return
    if not pushed:
        _unselect(workspace, number)
        if any(line.startswith("cycle.candidates:") for line in found.changed):
            now_frozen = Workspace(workspace.root, found.settings, workspace.store)
            freeze_pool(now_frozen, number)
            cycle_table.renew_arrived(workspace.store, number)
    with workspace.store.transaction():
        if not pushed:
            pick_table.forget_picks(workspace.store, number)
        settings = msgspec.json.encode(found.settings).decode()
        cycle_table.refreeze_cycle(workspace.store, number, settings, k)
    reporter.line(f"cycle {number}: {len(found.changed)} settings of al-loop.toml taken")


def _unselect(workspace: Workspace, number: int) -> None:
    """Forget what was selected; scores are kept, and are not computed again."""
    folder = workspace.cycle_dir(number)
    for name in ("score", "select", "score.partial", "select.partial"):
        shutil.rmtree(folder / name, ignore_errors=True)


def abandon(workspace: Workspace, reporter: Reporter) -> tuple[int, str]:
    """End the open cycle without a new model, and keep its labels; return its number and what became of it.

    What people have done is pulled first, where the server answers. Raises DataError without an open cycle.
    """
    row = open_cycle_row(workspace)
    if row is None:
        raise DataError("no cycle is under way: there is nothing to abandon. Begin one: al-loop cycle")
    number = row.number
    pushed = output_of(workspace.store, f"cycle-{number}", "push", workspace.cycle_dir(number) / "push")
    if pushed:
        _pull_last(workspace, row.settings, number, pushed["server"], pushed["project_id"], reporter)
    store = workspace.store
    labels = status_counts_of_cycle(store, number)
    words = ", ".join(f"{images} {status}" for status, images in labels.items())
    summary = f"{sum(labels.values())} labels kept{f' ({words})' if words else ''}"
    left = pick_table.unlabelled_picks(store, number)
    begun = pushing(workspace, number)
    with store.transaction():
        if begun:  # some tasks of a push that was cut off may exist: what people do with them is pulled late
            pick_table.expect_selected_picks(store, number)
        cycle_table.finish_cycle(store, number, ABANDONED, summary, now())
    for partial in workspace.cycle_dir(number).glob("*.partial"):
        shutil.rmtree(
            partial, ignore_errors=True
        )  # no run goes on with it; gc takes the training, which has a log
    lines = [summary, f"{left} of its picks have no label and may be picked again"]
    if begun:
        address = queue_address(workspace, pushed) if pushed else None
        where = f" ({address})" if address else ""
        lines.append(
            f"its tasks are still on the labelling server{where}: what people add to them is pulled with the next cycle; "
            "or delete them there"
        )
    return number, "\n".join(lines)


def _pull_last(
    workspace: Workspace, settings: str, number: int, server: str, project_id: int, reporter: Reporter
) -> None:
    """Take what people have done by now; a server that cannot be asked is no reason to keep the cycle."""
    try:
        then = Workspace(workspace.root, live_settings(workspace, thawed(settings)), workspace.store)
    except UnreadableError:  # of them, a pull reads nothing but what is live
        then = workspace
    try:
        pulled = sync.pull_labels(then, number, server, project_id)
    except AlLoopError as error:
        reporter.line(f"  pull: left out, the labelling server cannot be asked ({error})")
        reporter.line("  what people have done since the last pull is still there; the next cycle pulls it")
        return
    for problem in pulled.problems:
        reporter.line(f"  refused: {problem}")
    reporter.line(f"  pull: {pulled.answered} of {pulled.total} answered")


def with_ways_out(error: AlLoopError, number: int) -> AlLoopError:
    """Return an error that ended a stage with the ways out of its cycle below."""
    return type(error)(f"{error}\n{WAYS_OUT.format(number=number)}")


def restart_labelling(workspace: Workspace, *, anyway: bool = False) -> str:
    """Forget the labelling project, so that the open cycle is pushed again into a new one; what people did is pulled first.

    Raises LabelStudioError where something would be lost with the project, unless it is to be left anyway.
    """
    number = open_cycle_number(workspace)
    folder = workspace.cycle_dir(number or 0) / "push"
    if number is not None and (pushed := output_of(workspace.store, f"cycle-{number}", "push", folder)):
        lost = sync.last_pull(workspace, number, pushed["server"], pushed["project_id"])
        if lost and not anyway:
            raise LabelStudioError(
                f"the project holds what another one would not: {'; '.join(lost)}. Nothing was changed. Have it finished, "
                "or leave it: al-loop label-studio new-project --yes"
            )
    sync.forget_project(workspace, number)
    if number is not None:
        shutil.rmtree(folder, ignore_errors=True)
    return "what people have answered is kept; the next push begins another project. Run: al-loop cycle"
