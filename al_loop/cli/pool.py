"""al-loop init, al-loop pool ..."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

import click

from al_loop.cli.classes import parse_classes
from al_loop.core.console import Terminal, say
from al_loop.core.errors import DataError
from al_loop.core.files import printable
from al_loop.state.database.image_table import image_count, newest_images
from al_loop.state.workspace import init_workspace, open_workspace

_SHOWN = 20


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--classes",
    required=True,
    help="What to find: names separated by commas, in a fixed order; a name with a comma in quotes.",
)
def init(folder: Path, classes: str) -> None:
    """Make a workspace in FOLDER."""
    workspace = init_workspace(folder, parse_classes(classes))
    say(f"workspace {workspace.root} for {', '.join(workspace.config.classes)}")
    say(f"settings: {workspace.root / 'al-loop.toml'}")
    say(f"next: cd {shlex.quote(str(folder))} && al-loop pool add PHOTOS...")


@click.group()
def pool() -> None:
    """Photographs: the pool, its labels, and the validation set."""


@pool.command("add")
@click.argument("photos", nargs=-1, required=True)
@click.option(
    "--decode",
    is_flag=True,
    help="Look at every pixel, not only at beginning and end: slower; finds damage inside.",
)
@click.pass_obj
def add(start: Path | None, photos: tuple[str, ...], decode: bool) -> None:
    """Add PHOTOS (files, folders, globs, URLs of object stores) to the pool; safe to repeat.

    A file that is as it was when it was taken is not read again.
    """
    from al_loop.images.import_sources import add_sources

    workspace = open_workspace(start)
    with workspace.lock(), Terminal().progress("read photographs") as progress:
        done = add_sources(workspace, photos, progress, decode=decode)
    say(f"{done.added} added, {done.known} known already, {done.refused} refused")
    _show_notes(done.notes)
    if done.skipped.suffixes:
        say(f"  {done.skipped.line()}")
    _show_refused(done.reasons, done.refused + done.unreached)
    if done.unreached:
        raise DataError(
            f"{done.unreached} could not be fetched; the others are in the pool. Run the same again"
        )
    if not done.added and not done.known:
        raise DataError("none of the files could be used")


@pool.command("add-val")
@click.argument("coco", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", default="validation", show_default=True,
              help="Another set that models are judged on, such as night; never trained on.")  # fmt: skip
@click.option("--replace", "replace_labels", is_flag=True,
              help="Take the file's labels where images have others; `pool restore-labels` brings the old ones back.")  # fmt: skip
@click.pass_obj
def add_val(start: Path | None, coco: Path, name: str, replace_labels: bool) -> None:
    """Add the labelled images of COCO (a JSON file) as the fixed validation set.

    An image that has other labels already stays as it is, unless --replace is given.
    """
    from al_loop.images.coco import listed
    from al_loop.images.labelled_sets import count_phrase
    from al_loop.images.validation_sets import add_validation

    workspace = open_workspace(start)
    with workspace.lock(), Terminal().progress("read validation images") as progress:
        report = add_validation(workspace, coco, progress, name, replace_labels=replace_labels)
    say(
        f"{len(report.added)} {name} images added, {report.moved} taken out of the pool, "
        f"{report.duplicates} known already, {len(report.refused)} refused"
    )
    _show_notes(report.notes)
    _show_refused(report.refused, len(report.refused))
    if report.kept:
        say(f"{len(report.kept)} have labels that differ: kept as they are. Replace them: --replace")
        _show_some("kept", report.kept)
    if report.replaced:
        say(f"{report.replaced} labels replaced. Back again: al-loop pool restore-labels --last")
    if report.alike:
        say(f"{report.alike} of those taken out of the pool had these labels: no model learns from them now")
    if report.problems:
        say(listed(report.problems, coco).rstrip("\n"))
    say(f"{name} now: {count_phrase(report.images, report.boxes, report.empty, report.regions)}")
    if report.warning:
        say(report.warning)


@pool.command("restore-labels")
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option("--last", is_flag=True, help="All labels that the last command replaced.")
@click.pass_obj
def restore_labels(start: Path | None, images: tuple[str, ...], last: bool) -> None:
    """Put back the label that each IMAGE had before, and its place in the pool or in sets; list such labels without IMAGE.

    IMAGE is an id as `pool list` shows it. What this replaces can be restored in turn.
    """
    from al_loop.state.database.label_history_table import old_labels
    from al_loop.state.label_history import restore

    workspace = open_workspace(start)
    if not images and not last:
        found, total = old_labels(workspace.store, _SHOWN)
        for label in found:
            say(str(label))
        say(f"{len(found)} of {total} labels that were replaced")
        return
    with workspace.lock():
        found = restore(workspace, images, last=last)
    for label in found[:_SHOWN]:
        say(f"restored: {label}")
    say(f"{len(found)} labels restored")


@pool.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def export(start: Path | None, file: Path) -> None:
    """Write everything that people have labelled to FILE (COCO JSON), with the outlines they have drawn."""
    from al_loop.images.export import export_labels

    done = export_labels(open_workspace(start), file)
    say(
        f"{file}: {done.images} images, {done.empty} of them empty, {done.boxes} boxes, "
        f"{done.outlines} with an outline; {done.skipped} skipped images are left out"
    )


@pool.command("list")
@click.option(
    "--limit", type=click.IntRange(0, 2**31 - 1), default=_SHOWN, show_default=True, help="Rows; 0 for all."
)
@click.pass_obj
def list_pool(start: Path | None, limit: int) -> None:
    """List the photographs, the newest first."""
    workspace = open_workspace(start)
    rows = newest_images(workspace.store, limit)
    for row in rows:
        size = f"{row.width}x{row.height}"
        say(f"{row.id[:12]}  {size:>11}  {row.role:<10}  {row.status:<10}  {printable(row.source)}")
    total = image_count(workspace.store)
    say(f"{len(rows)} of {total} images")


def _show_notes(notes: Counter[str]) -> None:
    from al_loop.images.ingest import conversion_lines

    for line in conversion_lines(notes):
        say(f"  {line}")


def _show_refused(reasons: list[tuple[str, str]], count: int) -> None:
    _show_some("refused", reasons, count)


def _show_some(what: str, reasons: list[tuple[str, str]], count: int | None = None) -> None:
    """Name the first of some files and say why; count: of all of them, where only the first are known."""
    for where, reason in reasons[:_SHOWN]:
        say(f"  {what}: {printable(where)} {printable(reason)}")
    more = (len(reasons) if count is None else count) - _SHOWN
    if more > 0:
        say(f"  ... and {more} more")
