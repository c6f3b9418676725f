"""al-loop render, al-loop pretrain, al-loop models ..., al-loop gc"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from al_loop.cli.output import say_lines
from al_loop.cli.parameters import (
    EXISTING_FILE,
    EXISTING_FOLDER,
    FILE,
    FOLDER,
    gpus_option,
    model_argument,
    number_option,
    ray_option,
    with_locked_workspace,
    with_workspace,
)
from al_loop.core.console import Terminal, say
from al_loop.state.workspace import Workspace

if TYPE_CHECKING:
    from al_loop.evaluation.detection_counts import CountRuleName


@click.command()
@click.argument("recipe")
@click.option("--count", type=click.IntRange(1, 10_000_000), required=True, help="Total number of images.")
@number_option("--seed", 2**32 - 1, "Seed of the images.", 0, least=0)
@click.option(
    "--root", type=EXISTING_FOLDER, help="Base of relative paths in the recipe.  [default: its folder]"
)
@number_option("--workers", 1024, "Number of render processes.  [default: 1; with --ray one per node]")
@ray_option("Render")
@with_locked_workspace
def render(
    workspace: Workspace,
    recipe: str,
    count: int,
    seed: int,
    root: Path | None,
    workers: int | None,
    ray: str | None,
) -> None:
    """Render synthetic images from RECIPE: a TOML file, or the name of a shipped one such as "dice".

    The same recipe and seed resume an interrupted set. A larger count extends it.
    """
    from al_loop.images.synthetic import render_set
    from render import RenderOptions

    options = RenderOptions(root=root, ray=ray, workers=workers)
    render_set(workspace, recipe, count, seed, Terminal(), options)


@click.command()
@click.option("--data", multiple=True, type=EXISTING_FILE, help="COCO files instead of the rendered sets.")
@gpus_option
@with_locked_workspace
def pretrain(workspace: Workspace, data: tuple[Path, ...], gpus: int | None) -> None:
    """Train the first model on the rendered sets and the labels of the pool, and evaluate it."""
    from al_loop.models.pretrain import pretrain as run

    run(workspace.with_gpus(gpus), Terminal(), data)


@click.group()
def models() -> None:
    """Models: where they come from, how good they are, and which is in use."""


@models.command("import")
@click.argument("checkpoint")
@click.option(
    "--config", help="Its mmdet config: a name, or a Python file to execute.  [default: model.config]"
)
@click.option("--classes-as-is", is_flag=True, help="Match classes by position, not by name.")
@with_locked_workspace
def import_(workspace: Workspace, checkpoint: str, config: str | None, classes_as_is: bool) -> None:
    """Import CHECKPOINT, a .pth file or URL trained for this workspace's classes."""
    from al_loop.models.pretrain import import_checkpoint

    import_checkpoint(workspace, checkpoint, config, Terminal(), classes_as_is=classes_as_is)


@models.command()
@with_locked_workspace
def trust(workspace: Workspace) -> None:
    """Allow a workspace made elsewhere to execute the Python code that it names.

    That is model.config if it is a Python file, and the modules in the custom_imports of models.
    """
    from al_loop.models.trust import trust as run

    say_lines(run(workspace) or ["nothing: it names no Python that would be executed"])
    say(f"approved: {workspace.root}")


@models.command("list")
@with_workspace
def list_models(workspace: Workspace) -> None:
    """List the models as a tree of ancestry. * marks the current one."""
    from al_loop.models.lineage import tree

    say_lines(tree(workspace))


@models.command()
@model_argument
@with_workspace
def show(workspace: Workspace, model_id: str | None) -> None:
    """Show the metrics on every set, the origin and the files of MODEL, by default the current one."""
    from al_loop.models.lineage import describe

    say_lines(describe(workspace, model_id))


@models.command()
@click.argument("first")
@click.argument("second", required=False)
@click.option("--set", "name", default="validation", show_default=True, help="Set to compare them on.")
@click.option("--out", type=FILE, help="HTML page.  [default: versus-SECOND.html beside FIRST]")
@with_locked_workspace
def compare(workspace: Workspace, first: str, second: str | None, name: str, out: Path | None) -> None:
    """Compare model FIRST with SECOND, by default the current one: differences in AP with intervals."""
    from al_loop.models.compare import compare_models
    from al_loop.report.model_comparison import write_versus
    from al_loop.state.model_registry import current_model

    found = compare_models(workspace, first, second or current_model(workspace).id, name, Terminal())
    page = write_versus(workspace, found, out)
    say_lines(found.lines)
    say(f"with pictures: {page}")


@models.command("counts")
@model_argument
@click.option("--set", "name", default="validation", show_default=True, help="Evaluation set.")
@click.option("--data", type=EXISTING_FILE, help="The images of a COCO file instead, such as a rendered set.")
@click.option(
    "--rule", type=click.Choice(["iou", "cordier", "faltings"]), default="iou", show_default=True,
    help="How boxes are matched and counted.",
)  # fmt: skip
@with_locked_workspace
def counts(
    workspace: Workspace, model_id: str | None, name: str, data: Path | None, rule: CountRuleName
) -> None:
    """Count right, misclassified, missed and false boxes of MODEL, by default the current one.

    By class, and with --data also by the attributes of the boxes, such as how legible a digit is.
    """
    from al_loop.models.counts import count_file, count_set
    from al_loop.state.model_registry import current_model, get_model

    model, terminal = get_model(workspace, model_id) if model_id else current_model(workspace), Terminal()
    if data is None:
        report = count_set(workspace, model, name, rule, terminal)
    else:
        report = count_file(workspace, model, data, rule, terminal)
    say_lines(report.lines)


@models.command()
@model_argument
@click.option(
    "--format", "kind", type=click.Choice(["auto", "onnx", "torchscript"]), default="auto", show_default=True,
    help="auto: ONNX if it can be made and agrees, else TorchScript.",
)  # fmt: skip
@click.option("--out", type=FOLDER, help="Folder.  [default: export/MODEL]")
@number_option("--check", 1_000_000, "Number of images to check the file on.", 16)
@with_workspace
def export(workspace: Workspace, model_id: str | None, kind: str, out: Path | None, check: int) -> None:
    """Export MODEL, by default the current one, as one file that runs without al-loop, and check it.

    Normalisation and NMS are inside. MODEL.json beside it describes the input, config.json is the config.
    """
    from al_loop.images.repository import validation
    from al_loop.models.export import export as run
    from al_loop.state.model_registry import current_model, get_model

    with workspace.lock_unless_read_only():
        model = get_model(workspace, model_id) if model_id else current_model(workspace)
        images = [item.image for item in validation(workspace)[:check]]
        done = run(workspace, model, images, out or workspace.root / "export" / model.id, kind)
    found = done.agreement
    if done.skipped:
        say(f"no ONNX: {done.skipped}")
    say(f"{done.format}: {done.file}, input {done.size[0]}x{done.size[1]} px, described in {done.notes.name}")
    if found.boxes:
        say(
            f"checked on {found.images} images: the same {found.boxes} boxes, "
            f"corners within {found.box_px:.2g} px, scores within {found.score:.2g}"
            + (f", probabilities of masks within {found.masks.probability:.2g}" if found.masks else "")
        )
    else:
        say(f"warning: the model finds no box on {found.images} images, so that the check proves nothing")


@models.command("masks")
@model_argument
@click.option("--out", type=FOLDER, required=True, help="Folder for the PNG images; new or empty.")
@click.option("--set", "name", default="validation", show_default=True, help="Evaluation set.")
@click.option("--pool", is_flag=True, help="The unlabelled photographs instead. They are scored first.")
@click.option(
    "--min-score", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Of an object in a map."
)
@with_locked_workspace
def masks(
    workspace: Workspace, model_id: str | None, out: Path, name: str, pool: bool, min_score: float
) -> None:
    """Write predictions of MODEL, by default the current one, as a PNG image of class ids per photograph."""
    from al_loop.loop.pool_scoring import score_pool
    from al_loop.models.predicted_maps import PredictedMaps
    from al_loop.state.model_registry import current_model, get_model

    terminal = Terminal()
    model = get_model(workspace, model_id) if model_id else current_model(workspace)
    maps = PredictedMaps(workspace, model, out, min_score, terminal)
    if pool:
        score_pool(workspace, model.id, terminal)
    count = maps.of_pool() if pool else maps.of_set(name)
    say(f"{out}: {count} pixel maps by {model.id}")


@models.command("promote")
@click.argument("model_id", metavar="MODEL")
@click.option("--reason", default="promoted by hand", show_default=True, help="Reason for the report.")
@with_locked_workspace
def promote_model(workspace: Workspace, model_id: str, reason: str) -> None:
    """Make MODEL the current one, whatever its metrics."""
    from al_loop.state.model_registry import get_model, promote

    promote(workspace, get_model(workspace, model_id), reason)
    say(f"the current model is {model_id}. Undo: al-loop models rollback")


@models.command()
@model_argument
@with_locked_workspace
def rollback(workspace: Workspace, model_id: str | None) -> None:
    """Go back to MODEL, by default the one before the current."""
    from al_loop.state.model_registry import rollback as go_back

    old, new = go_back(workspace, model_id)
    say(f"the current model is {new.id} again (was {old.id})")


@click.command()
@click.option("--keep", multiple=True, metavar="MODEL", help="Keep this model too; may be repeated.")
@click.option("--images", "pictures", is_flag=True, help="Delete any number of unknown files in images/.")
@click.option("--dry-run", is_flag=True, help="Only list what would be deleted.")
@with_locked_workspace
def gc(workspace: Workspace, keep: tuple[str, ...], dry_run: bool, pictures: bool) -> None:
    """Delete files of models that were never in use, and leftovers of killed runs.

    Models that are or were in use, ancestors of others and those that an open cycle needs are kept.
    """
    from al_loop.models.gc import gc as run

    say_lines(run(workspace, keep, dry_run=dry_run, pictures=pictures))
