"""al-loop labels ..."""

from __future__ import annotations

import click

from al_loop.cli.output import say_lines
from al_loop.cli.parameters import number_option, with_locked_workspace
from al_loop.core.console import Terminal, say
from al_loop.core.errors import LabelStudioError
from al_loop.core.files import printable
from al_loop.state.workspace import Workspace


@click.group()
def labels() -> None:
    """Labels that people have drawn."""


@labels.command("check")
@number_option("--cycle", 2**31 - 1, "Check the labels of this cycle only.")
@number_option("--limit", 2**31 - 1, "Rows; 0 for all.", 20, least=0)
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
    say(f"{len(shown)} of {len(found.doubts)} doubts, on {images} of {found.checked} images")
    say_lines(f"note: {printable(note)}" for note in notes)
