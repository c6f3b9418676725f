"""Recover a cycle that cannot continue: change its settings, or end it without a new model."""

from __future__ import annotations

import shutil

import msgspec

from al_loop.core.console import Reporter
from al_loop.core.errors import AlLoopError, ConfigError, DataError, LabelStudioError
from al_loop.core.frozen_settings import UnreadableError, check, refrozen, thawed
from al_loop.labelling import sync
from al_loop.labelling.open_tasks import queue_address
from al_loop.loop.cycle_record import (
    freeze_pool,
    live_settings,
    open_cycle_row,
    push_has_begun,
    settings_with,
)
from al_loop.loop.validation_sample import sample_size
from al_loop.state import model_registry
from al_loop.state.database import cycle_table, pick_table
from al_loop.state.database.cycle_table import ABANDONED, CycleRow
from al_loop.state.database.label_table import status_counts_of_cycle
from al_loop.state.stages import Output, output_of_cycle
from al_loop.state.workspace import Workspace, now


def refreeze(workspace: Workspace, k: int | None, reporter: Reporter) -> None:
    """Apply the settings of al-loop.toml to the open cycle, and report the changed ones.

    Before the push, all settings change and images are selected again. After it, the settings of the
    selection stay, because its images are being labelled.

    k: new number of images; only before the push.
    Raises DataError without an open cycle, ConfigError for an unusable setting or a late k.
    """
    row = open_cycle_row(workspace)
    if row is None:
        raise DataError(
            "no cycle is under way: the next one takes al-loop.toml as it is. Begin it: al-loop cycle"
        )
    number, pushed = row.number, push_has_begun(workspace, row.number)
    if pushed and k not in (None, row.k):
        raise ConfigError(
            f"cycle {number} was pushed with k = {row.k}, which cannot change any more, got {k}. Omit --k, "
            "or end the cycle and keep its labels: al-loop cycle --abandon"
        )
    current = settings_with(model_registry.get_model(workspace, row.model_id), workspace.config)
    result = refrozen(thawed(row.settings), current, selected=pushed)
    check(live_settings(workspace, result.settings), number, selected=pushed)
    for line in (*result.changed, *(f"{line}: the images are selected already" for line in result.kept)):
        reporter.line(f"  {line}")
    changed = {line.partition(":")[0] for line in result.changed}
    k = k or (result.settings.cycle.k if "cycle.k" in changed else row.k)
    sample = row.validation_images if pushed else sample_size(workspace)
    if not changed and (k, sample) == (row.k, row.validation_images):
        reporter.line(f"cycle {number}: al-loop.toml changes none of its settings")
        return
    if not pushed:
        for name in ("score", "select", "score.partial", "select.partial"):  # the scores themselves stay
            shutil.rmtree(workspace.cycle_dir(number) / name, ignore_errors=True)
    if not pushed and "cycle.candidates" in changed:
        freeze_pool(workspace, number, result.settings)
        cycle_table.renew_arrived(workspace.store, number)
    with workspace.store.transaction():
        if not pushed:
            pick_table.forget_picks(workspace.store, number)
        settings = msgspec.json.encode(result.settings).decode()
        cycle_table.refreeze_cycle(workspace.store, number, settings, k, sample)
    reporter.line(f"cycle {number}: {len(changed)} settings of al-loop.toml applied")


def abandon(workspace: Workspace, reporter: Reporter) -> tuple[int, str]:
    """End the open cycle without a new model, and keep its labels; return its number and a summary.

    The newest labels are pulled first if the server can be reached. Raises DataError without an open cycle.
    """
    row = open_cycle_row(workspace)
    if row is None:
        raise DataError("no cycle is under way: there is nothing to abandon. Begin one: al-loop cycle")
    number, store = row.number, workspace.store
    pushed = output_of_cycle(workspace, number, "push")
    if pushed:
        _pull_last(workspace, row, pushed, reporter)
    counts = status_counts_of_cycle(store, number)
    words = ", ".join(f"{images} {status}" for status, images in counts.items())
    summary = f"{sum(counts.values())} labels kept{f' ({words})' if words else ''}"
    unlabelled, push_begun = pick_table.unlabelled_picks(store, number), push_has_begun(workspace, number)
    with store.transaction():
        if push_begun:  # tasks of an interrupted push may exist: the next cycle pulls their labels
            pick_table.expect_selected_picks(store, number)
        cycle_table.finish_cycle(store, number, ABANDONED, summary, now())
    for partial in workspace.cycle_dir(number).glob("*.partial"):
        # gc deletes the training, which has a log.
        shutil.rmtree(partial, ignore_errors=True)
    lines = [summary, f"{unlabelled} of its picks have no label and may be picked again"]
    if push_begun:
        address = queue_address(workspace, pushed) if pushed else None
        lines.append(
            f"its tasks are still on the labelling server{f' ({address})' if address else ''}: the "
            "next cycle pulls labels that people add to them. Or delete the tasks there"
        )
    return number, "\n".join(lines)


def _pull_last(workspace: Workspace, row: CycleRow, pushed: Output, reporter: Reporter) -> None:
    """Pull the newest labels if the server can be reached."""
    try:
        frozen = _with_frozen_settings(workspace, row)
        pulled = sync.pull_labels(frozen, row.number, pushed["server"], pushed["project_id"])
    except AlLoopError as error:
        reporter.line(f"  pull: skipped, the labelling server cannot be reached ({error})")
        reporter.line("  labels since the last pull are still on the server; the next cycle pulls them")
        return
    for problem in pulled.problems:
        reporter.line(f"  refused: {problem}")
    reporter.line(f"  pull: {pulled.answered} of {pulled.total} answered")


def _with_frozen_settings(workspace: Workspace, row: CycleRow) -> Workspace:
    """Return the workspace with the settings that a cycle began with; with today's if they are unreadable."""
    try:
        return workspace.with_settings(live_settings(workspace, thawed(row.settings)))
    except UnreadableError:
        return workspace


def with_recovery_hint(error: AlLoopError, number: int) -> AlLoopError:
    """Return an error of a stage with advice on its cycle, because repeating the command may not help."""
    return type(error)(
        f"{error}\nCycle {number} stays open and keeps its labels. To change its settings: al-loop cycle "
        "--refreeze. To end it and keep its labels: al-loop cycle --abandon"
    )


def restart_labelling(workspace: Workspace, *, anyway: bool = False) -> str:
    """Pull the labels of the labelling project and detach from it. The next push makes a new project.

    anyway: detach even if labels of the project are lost.
    Raises LabelStudioError if labels would be lost, unless `anyway`.
    """
    row = open_cycle_row(workspace)
    number = None if row is None else row.number
    if row is not None and (pushed := output_of_cycle(workspace, row.number, "push")):
        lost = sync.last_pull(
            _with_frozen_settings(workspace, row), row.number, pushed["server"], pushed["project_id"]
        )
        if lost and not anyway:
            raise LabelStudioError(
                f"a new project would lack this: {'; '.join(lost)}. Nothing was changed. Finish the work "
                "in the old project, or discard it: al-loop label-studio new-project --yes"
            )
    sync.forget_project(workspace, number)
    if number is not None:
        shutil.rmtree(workspace.cycle_dir(number) / "push", ignore_errors=True)
    return "the pulled labels are kept; the next push makes a new project. Run: al-loop cycle"
