"""al-loop labels ..."""

from __future__ import annotations

from collections import Counter

import click

from al_loop.cli.output import say_files, say_lines
from al_loop.cli.parameters import number_option, with_locked_workspace, with_workspace
from al_loop.core.console import Terminal, say
from al_loop.core.errors import DataError, LabelStudioError
from al_loop.core.files import printable
from al_loop.state.database.verdict_table import VERDICTS
from al_loop.state.workspace import Workspace

_SHOWN = 20


@click.group()
def labels() -> None:
    """Labels that people have drawn: doubtful, changed and replaced ones."""


@labels.command("check")
@number_option("--cycle", 2**31 - 1, "Check the labels of this cycle only.")
@number_option("--limit", 2**31 - 1, "Rows; 0 for all.", _SHOWN, least=0)
@with_locked_workspace
def check(workspace: Workspace, cycle: int | None, limit: int) -> None:
    """List the labels that a model contradicts which was not trained on them, the most doubtful first.

    These are missing boxes, boxes that are off, and other classes.
    """
    from al_loop.loop.label_check import check_labels, in_words, task_addresses

    found = check_labels(workspace, cycle, Terminal())
    shown, notes = found.doubts[: limit or None], list(found.notes)
    try:
        pages = task_addresses(workspace, shown)
    except LabelStudioError as error:
        pages = {}
        notes.append(f"without the addresses of the tasks: {error}")
    for place, (number, doubt) in enumerate(shown, 1):
        name = printable(found.sources[doubt.image.id])
        where = f"cycle {number}" if number else "validation set"
        say(f"{place:3}  {doubt.image.id[:12]}  {name}  {where}: {in_words(doubt, workspace.config.classes)}")
        if number and (page := pages.get(doubt.image.id)):
            say(f"     {page}")
    images = len({doubt.image.id for _, doubt in found.doubts})
    say(f"{len(shown)} of {len(found.doubts)} doubts, on {images} of {len(found.checked)} images")
    say_lines(f"note: {printable(note)}" for note in notes)


@labels.command("verify")
@click.option("--class", "names", multiple=True, help="Ask about boxes of this class only; may be repeated.")
@number_option("--count", 10_000, "Boxes.", 200)
@number_option("--port", 65535, "Port of the page.  [default: a free one]")
@with_workspace
def verify(workspace: Workspace, names: tuple[str, ...], count: int, port: int | None) -> None:
    """Verify single boxes of the model on a local page: right, wrong, another class, or off.

    The next cycle learns the right ones. Other boxes of the model on their images stay unknown.
    """
    from al_loop.labelling.verification.page import Page
    from al_loop.loop.verification import Session, choose_questions

    with workspace.lock():
        questions = choose_questions(workspace, count, names, Terminal())
    session, page = Session(workspace, questions), Page(questions, workspace.config.classes, port or 0)
    say(f"{len(questions)} boxes to verify: {page.url}")
    say("Each answer is stored at once. The button End, or Ctrl-C, ends the page")
    try:
        page.run(session.answer)
    except KeyboardInterrupt:
        say("")
    counts = Counter(answer.verdict for answer in page.answers.values())
    found = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    say(f"{len(page.answers)} of {len(questions)} answered{f': {found}' if found else ''}")


@labels.command("diff")
@click.argument("before")
@click.argument("after", default="now")
@number_option("--limit", 2**31 - 1, "Rows; 0 for all.", _SHOWN, least=0)
@with_workspace
def diff(workspace: Workspace, before: str, after: str, limit: int) -> None:
    """Show what changed between two versions of the labels.

    BEFORE and AFTER are the number of a cycle, for the labels that it trained on; a file of `pool export`; or
    `now` (default of AFTER).
    """
    from al_loop.evaluation.label_changes import BoxChanges
    from al_loop.images.repository import source_names
    from al_loop.loop.label_versions import compare_labels

    found = compare_labels(workspace, before, after)
    shown = list(found.changes.items())[: limit or None]
    names = source_names(workspace, [image for image, _ in shown])
    for image, changes in shown:
        say(f"{image[:12]}  {printable(names.get(image, '-'))}  {changes or 'outlines or ignore regions'}")
    total = sum(found.changes.values(), BoxChanges())
    say(f"{len(found.changes)} of {found.both} images differ: boxes {total}")
    say(f"{len(found.only_before)} images only before, {len(found.only_after)} only after")


@labels.command("restore")
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option("--last", is_flag=True, help="Restore all labels that the last command replaced.")
@number_option("--cycle", 2**31 - 1, "Restore all labels that this cycle trained on.")
@with_workspace
def restore(workspace: Workspace, images: tuple[str, ...], last: bool, cycle: int | None) -> None:
    """Restore the previous label of each IMAGE and its place. Without IMAGE: list replaced labels.

    IMAGE is an id as `pool list` shows it. What this replaces can be restored in turn.
    """
    from al_loop.state.database import label_history_table

    if cycle is not None:
        _restore_cycle(workspace, cycle, alone=not images and not last)
        return
    if not images and not last:
        found, total = label_history_table.old_labels(workspace.store, _SHOWN)
        say_lines(map(str, found))
        say(f"{len(found)} of {total} labels that were replaced")
        return
    with workspace.lock():
        found = label_history_table.restore(workspace.store, images, last=last)
    say_lines(f"restored: {label}" for label in found[:_SHOWN])
    say(f"{len(found)} labels restored")


def _restore_cycle(workspace: Workspace, number: int, *, alone: bool) -> None:
    from al_loop.loop.label_versions import restore_version

    if not alone:
        raise DataError("--cycle restores the labels of a cycle: give it alone")
    with workspace.lock():
        restored, lost = restore_version(workspace, number)
    undo = ". Undo: al-loop labels restore --last" if restored else ""
    say(f"{len(restored)} labels restored as cycle {number} had them{undo}")
    say_files("lost", [(image[:12], "is not among the replaced labels") for image in lost])
