"""al-loop init, al-loop pool ..."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from al_loop.cli.classes import parse_classes
from al_loop.cli.output import say_conversions, say_files
from al_loop.cli.parameters import (
    EXISTING_FILE,
    FILE,
    FOLDER,
    number_option,
    with_locked_workspace,
    with_workspace,
)
from al_loop.cli.renamed import RenamingGroup
from al_loop.core.console import Terminal, say
from al_loop.core.errors import DataError
from al_loop.core.files import printable, write_json
from al_loop.state.database.image_table import image_count, newest_images
from al_loop.state.workspace import Workspace, init_workspace

if TYPE_CHECKING:
    from al_loop.images.healthy import HealthyReport
    from al_loop.images.label_import import LabelReport

_SHOWN = 20


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--classes", required=True, help="Class names, separated by commas. Their order is fixed.")
def init(folder: Path, classes: str) -> None:
    """Create a workspace in FOLDER."""
    workspace = init_workspace(folder, parse_classes(classes))
    say(f"workspace {workspace.root} for {', '.join(workspace.config.classes)}")
    say(f"settings: {workspace.root / 'al-loop.toml'}")
    say(f"next: cd {shlex.quote(str(folder))} && al-loop pool add PHOTOS...")


@click.group(cls=RenamingGroup)
def pool() -> None:
    """Photographs: the pool, its labels, and the validation set."""


@pool.command("add")
@click.argument("photos", nargs=-1, required=True)
@click.option("--decode", is_flag=True, help="Decode every image: slower, but finds damage inside.")
@click.option("--healthy", is_flag=True, help="Label them as empty: photographs without any object.")
@click.option(
    "--every",
    type=click.FloatRange(0, 86_400, min_open=True),
    help="Of videos, add a frame in so many seconds.",
)
@click.option("--changed", is_flag=True, help="Of videos, add each frame that shows another picture.")
@with_locked_workspace
def add(
    workspace: Workspace,
    photos: tuple[str, ...],
    decode: bool,
    healthy: bool,
    every: float | None,
    changed: bool,
) -> None:
    """Add PHOTOS (files, folders, globs, URLs of object stores) to the pool. Safe to repeat.

    A file that has not changed since it was added is not read again.
    """
    from al_loop.images.import_sources import add_sources
    from al_loop.images.videos import FrameRule

    if every and changed:
        raise click.UsageError("give --every SECONDS or --changed, not both")
    rule = FrameRule(every) if every or changed else None
    with Terminal().progress("read photographs") as progress:
        done = add_sources(workspace, photos, progress, decode=decode, healthy=healthy, frames=rule)
    say(f"{done.added} added, {done.known} known already, {done.refused} refused")
    say_conversions(done.notes)
    if done.skipped.suffixes:
        say(f"  {done.skipped.line()}")
    say_files("refused", done.reasons, done.refused + done.unreached)
    if done.healthy:
        _say_healthy(done.healthy)
    if done.unreached:
        raise DataError(
            f"{done.unreached} could not be fetched; the others are in the pool. Run the same again"
        )
    if not done.added and not done.known:
        raise DataError("none of the files could be used")


def _say_healthy(report: HealthyReport) -> None:
    """Print which photographs are labelled as empty now, and which are not."""
    undo = ". Undo: al-loop labels restore --last" if report.labelled else ""
    say(f"{report.labelled} labelled as empty, {report.known} were empty already{undo}")
    if report.kept:
        say(f"{len(report.kept)} have another label: kept as they are")
        say_files("kept", report.kept)
    if report.evaluated:
        say(f"{report.evaluated} left out: models are evaluated on them")


@pool.command("add-val")
@click.argument("coco", type=EXISTING_FILE)
@click.option("--name", default="validation", show_default=True, help="Name of the set, such as night.")
@click.option("--replace", is_flag=True, help="Replace labels that differ from those of the file.")
@with_locked_workspace
def add_val(workspace: Workspace, coco: Path, name: str, replace: bool) -> None:
    """Add the labelled images of COCO (a JSON file) to the validation set.

    Images that already have other labels stay unchanged without --replace.
    """
    from al_loop.images.near_duplicates import like_evaluation
    from al_loop.images.validation_sets import add_validation

    with Terminal().progress("read validation images") as progress:
        report = add_validation(workspace, coco, progress, name, replace_labels=replace)
    say(
        f"{len(report.added)} {name} images added, {report.moved} taken out of the pool, "
        f"{report.duplicates} known already, {len(report.refused)} refused"
    )
    _say_labels(report, coco)
    if report.alike:
        say(f"{report.alike} of those taken out of the pool had these labels: no model learns from them now")
    say(f"{name} now: {report.counts}")
    if report.warning:
        say(report.warning)
    with Terminal().progress("compare images") as progress:
        alike = like_evaluation(workspace, progress)
    _say_like_evaluation(len(alike.images), alike.uncompared)


@pool.command("add-labelled")
@click.argument("coco", type=EXISTING_FILE)
@click.option("--replace", is_flag=True, help="Replace labels that differ from those of the file.")
@with_locked_workspace
def add_labelled(workspace: Workspace, coco: Path, replace: bool) -> None:
    """Add the labelled images of COCO (a JSON file) to the pool: every later training uses them.

    Images that already have other labels stay unchanged without --replace. Safe to repeat.
    """
    from al_loop.images.pool_labels import add_labelled

    with Terminal().progress("read labelled images") as progress:
        report = add_labelled(workspace, coco, progress, replace_labels=replace)
    say(
        f"{len(report.added)} labelled images added, {report.labelled} images of the pool labelled, "
        f"{report.duplicates} known already, {len(report.refused)} refused"
    )
    _say_labels(report, coco)
    if report.evaluated:
        say(f"{report.evaluated} left out: models are evaluated on them")
    say(f"labelled now: {report.counts}")
    if report.missing:
        say(f"no label of {', '.join(report.missing)} yet: a model cannot learn these classes without labels")
    if report.warning:
        say(report.warning)


def _say_labels(report: LabelReport, coco: Path) -> None:
    """Print what an import of labels has converted, refused, kept and replaced."""
    from al_loop.images.coco import listed

    say_conversions(report.notes)
    say_files("refused", report.refused)
    if report.kept:
        say(f"{len(report.kept)} have labels that differ: kept as they are. Replace them: --replace")
        say_files("kept", report.kept)
    if report.replaced:
        say(f"{report.replaced} labels replaced. Undo: al-loop labels restore --last")
    if report.problems:
        say(listed(report.problems, coco).rstrip("\n"))


@pool.command("repair")
@click.argument("photos", nargs=-1)
@with_locked_workspace
def repair(workspace: Workspace, photos: tuple[str, ...]) -> None:
    """Restore stored photographs that are missing or changed.

    They are taken from PHOTOS (files, folders, globs), or from where they were added. Only a file with the
    same bytes is used.
    """
    from al_loop.images.integrity import repair_images

    with Terminal().progress("examine photographs") as progress:
        done = repair_images(workspace, photos, progress)
    say(f"{len(done.fixed)} photographs stored again, {len(done.lost)} cannot be")
    say_files("lost", [(f"{file},", reason) for file, reason in done.lost])
    if done.lost:
        raise DataError(
            "name the folder where their originals are: al-loop pool repair PHOTOS..., "
            "or restore images/ from a backup"
        )


@pool.command("export")
@click.argument("file", type=FILE)
@click.option("--masks", type=FOLDER, help="Also write a PNG image of class ids for each photograph here.")
@with_workspace
def export(workspace: Workspace, file: Path, masks: Path | None) -> None:
    """Write all labels by people to FILE (COCO JSON), with their outlines."""
    from al_loop.images.export import export_labels

    done = export_labels(workspace, file, masks)
    say(
        f"{file}: {done.images} images, {done.empty} of them empty, {done.boxes} boxes, "
        f"{done.outlines} with an outline; {done.skipped} skipped images are left out"
    )
    if masks:
        say(f"{masks}: {done.images} pixel maps")


@pool.command("list")
@number_option("--limit", 2**31 - 1, "Rows; 0 for all.", _SHOWN, least=0)
@with_workspace
def list_pool(workspace: Workspace, limit: int) -> None:
    """List the photographs, newest first."""
    rows = newest_images(workspace.store, limit)
    for row in rows:
        size = f"{row.width}x{row.height}"
        say(f"{row.id[:12]}  {size:>11}  {row.role:<10}  {row.status:<10}  {printable(row.source)}")
    say(f"{len(rows)} of {image_count(workspace.store)} images")


@pool.command("duplicates")
@click.option("--out", type=FILE, help="Write all of them to this JSON file.")
@click.option(
    "--take-out", is_flag=True, help="Take those that are like an evaluation image out of the pool."
)
@with_locked_workspace
def duplicates(workspace: Workspace, out: Path | None, take_out: bool) -> None:
    """List photographs of almost the same picture, such as two frames of one film."""
    from al_loop.images import near_duplicates
    from al_loop.images.repository import source_names

    with Terminal().progress("compare images") as progress:
        found = near_duplicates.find_near_duplicates(workspace, progress)
    if out:
        write_json(out, {"groups": found.groups, "like_evaluation": found.like_evaluation})
        say(f"{out}: all of them")
    say(
        f"{sum(map(len, found.groups))} images of the pool are near-duplicates, in {len(found.groups)} groups"
    )
    shown = found.groups[:_SHOWN]
    names = source_names(workspace, [name for group in shown for name in group])
    for first, *others in shown:
        say(f"  {printable(names[first])}: {len(others)} more, such as {printable(names[others[0]])}")
    if len(found.groups) > _SHOWN:
        say(f"  ... and {len(found.groups) - _SHOWN} more groups")
    say_files("not compared", [(name, reason) for name, reason in found.unread])
    if take_out and found.like_evaluation:
        near_duplicates.take_out(workspace, list(found.like_evaluation))
        count = len(found.like_evaluation)
        say(f"{count} images like evaluation images are out of the pool. Undo: al-loop labels restore --last")
    else:
        _say_like_evaluation(len(found.like_evaluation))


def _say_like_evaluation(count: int, uncompared: int = 0) -> None:
    """Print how many images of the pool are like an evaluation image, and what to do."""
    if count:
        say(
            f"{count} images of the pool are like an evaluation image: AP would be too high for models that "
            "learn from them. Take them out: al-loop pool duplicates --take-out"
        )
    if uncompared:
        say(f"{uncompared} images of the pool were not compared with these: al-loop pool duplicates does it")
