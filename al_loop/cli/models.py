"""al-loop render, al-loop pretrain, al-loop models ..., al-loop gc"""

from __future__ import annotations

from pathlib import Path

import click

from al_loop.core.console import Terminal, say
from al_loop.state.workspace import open_workspace


@click.command()
@click.argument("recipe")
@click.option("--count", type=click.IntRange(1, 10_000_000), required=True, help="Images of the set, in all.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Another seed gives other images.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=None,
    help="Folder that the recipe's paths are relative to.  [default: the recipe's own]",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    help="Processes that render side by side.  [default: 1; with --ray one per node]",
)
@click.option(
    "--ray", metavar="ADDRESS", help="Render on a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local."
)
@click.pass_obj
def render(
    start: Path | None,
    recipe: str,
    count: int,
    seed: int,
    root: Path | None,
    workers: int | None,
    ray: str | None,
) -> None:
    """Render synthetic images by RECIPE (a TOML file, or a shipped one such as "dice").

    The same recipe and seed go on where they stopped; a larger count extends the set.
    """
    from al_loop.images.synthetic import render_set
    from render import RenderOptions

    workspace = open_workspace(start)
    with workspace.lock():
        options = RenderOptions(root=root, ray=ray, workers=workers)
        render_set(workspace, recipe, count, seed, Terminal(), options)


@click.command()
@click.option(
    "--data",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A COCO file of labelled images to learn from, instead of the rendered sets; may be repeated.",
)
@click.option(
    "--gpus",
    type=click.IntRange(1, 64),
    help="GPUs that share the training, each with its part of a batch; by default gpus of al-loop.toml.",
)
@click.pass_obj
def pretrain(start: Path | None, data: tuple[Path, ...], gpus: int | None) -> None:
    """Train the first model on the rendered sets and evaluate it on the validation set."""
    from al_loop.models.pretrain import pretrain as run

    workspace = open_workspace(start).with_gpus(gpus)
    with workspace.lock():
        run(workspace, Terminal(), data)


@click.group()
def models() -> None:
    """Models: where they come from, how good they are, and which is in use."""


@models.command("import")
@click.argument("checkpoint")
@click.option(
    "--config",
    "config",
    help="The mmdet config it belongs to, a Python file that is executed; by default model.config's.",
)
@click.option(
    "--classes-as-is",
    is_flag=True,
    help="Take its classes by their place, whatever the checkpoint calls them.",
)
@click.pass_obj
def import_(start: Path | None, checkpoint: str, config: str | None, classes_as_is: bool) -> None:
    """Use CHECKPOINT (a .pth file or URL, trained for this workspace's classes) as a model."""
    from al_loop.models.pretrain import import_checkpoint

    workspace = open_workspace(start)
    with workspace.lock():
        import_checkpoint(workspace, checkpoint, config, Terminal(), classes_as_is=classes_as_is)


@models.command()
@click.pass_obj
def trust(start: Path | None) -> None:
    """Approve of a workspace that was not made here: Python that it names may be executed from now on.

    That is model.config where it is a Python file, and modules that models name in custom_imports.
    """
    from al_loop.models.trust import trust as run

    workspace = open_workspace(start)
    with workspace.lock():
        lines = run(workspace)
    for line in lines or ["nothing: it names no Python that would be executed"]:
        click.echo(line)
    click.echo(f"approved: {workspace.root}")


@models.command("list")
@click.pass_obj
def list_models(start: Path | None) -> None:
    """List the models as a tree of what was made from what; the current one is marked."""
    from al_loop.models.lineage import tree

    for line in tree(open_workspace(start)):
        say(line)


@models.command()
@click.argument("model_id", required=False, metavar="[MODEL]")
@click.pass_obj
def show(start: Path | None, model_id: str | None) -> None:
    """Say everything about MODEL, by default the current one: metrics on every set, origin, files."""
    from al_loop.models.lineage import describe

    for line in describe(open_workspace(start), model_id):
        say(line)


@models.command()
@click.argument("first")
@click.argument("second", required=False)
@click.option("--set", "name", default="validation", show_default=True, help="Which set to compare them on.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page with pictures.  [default: versus-SECOND.html beside FIRST]",
)
@click.pass_obj
def compare(start: Path | None, first: str, second: str | None, name: str, out: Path | None) -> None:
    """Hold model FIRST against SECOND, by default the current one: differences in AP, how sure, and where."""
    from al_loop.models.compare import compare_models
    from al_loop.report.model_comparison import write_versus
    from al_loop.state.model_registry import current_model

    workspace = open_workspace(start)
    with workspace.lock():
        found = compare_models(workspace, first, second or current_model(workspace).id, name, Terminal())
        page = write_versus(workspace, found, out)
    for line in found.lines:
        say(line)
    say(f"with pictures: {page}")


@models.command()
@click.argument("model_id", required=False, metavar="[MODEL]")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["auto", "onnx", "torchscript"]),
    default="auto",
    show_default=True,
    help="auto: ONNX if it can be made and agrees, else TorchScript.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder.  [default: export/MODEL]"
)
@click.option(
    "--check", type=click.IntRange(1, 1_000_000), default=16, show_default=True, help="Images to check it on."
)
@click.pass_obj
def export(start: Path | None, model_id: str | None, kind: str, out: Path | None, check: int) -> None:
    """Write MODEL, by default the current one, as one file that needs no al-loop, and check that it finds the same.

    Normalisation and NMS are inside; MODEL.json beside it says how to feed it, config.json is the resolved
    config.
    """
    from al_loop.images.repository import validation
    from al_loop.models.export import export as run
    from al_loop.state.model_registry import current_model, get_model

    workspace = open_workspace(start)
    with workspace.lock_unless_read_only():
        model = get_model(workspace, model_id) if model_id else current_model(workspace)
        images = [item.image for item in validation(workspace)[:check]]
        done = run(workspace, model, images, out or workspace.root / "export" / model.id, kind)
    found = done.agreement
    if done.skipped:
        say(f"no ONNX: {done.skipped}")
    say(f"{done.format}: {done.file}, input {done.size[0]}x{done.size[1]} px, told in {done.notes.name}")
    if found.boxes:
        say(
            f"checked on {found.images} images: the same {found.boxes} boxes, corners within {found.box_px:.2g} px, "
            f"scores within {found.score:.2g}"
        )
    else:
        say(f"warning: the model finds no box on {found.images} images, so that the check proves nothing")


@models.command("promote")
@click.argument("model_id", metavar="MODEL")
@click.option("--reason", default="promoted by hand", show_default=True, help="For the report.")
@click.pass_obj
def promote_model(start: Path | None, model_id: str, reason: str) -> None:
    """Make MODEL the current one, whatever its metrics; the report says that a person did it."""
    from al_loop.state.model_registry import get_model, promote

    workspace = open_workspace(start)
    with workspace.lock():
        promote(workspace, get_model(workspace, model_id), reason)
    say(f"the current model is {model_id}. Back again: al-loop models rollback")


@models.command()
@click.argument("model_id", required=False, metavar="[MODEL]")
@click.pass_obj
def rollback(start: Path | None, model_id: str | None) -> None:
    """Go back to MODEL, by default the one before the current."""
    from al_loop.state.model_registry import rollback as go_back

    workspace = open_workspace(start)
    with workspace.lock():
        old, new = go_back(workspace, model_id)
    say(f"the current model is {new.id} again (was {old.id})")


@click.command()
@click.option(
    "--keep", "keep", multiple=True, metavar="MODEL", help="A model to keep besides; may be repeated."
)
@click.option(
    "--images",
    "pictures",
    is_flag=True,
    help="Also delete all files in images/ that no row names: without, only as many as a killed pool add leaves.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.pass_obj
def gc(start: Path | None, keep: tuple[str, ...], dry_run: bool, pictures: bool) -> None:
    """Delete files of models that were never in use, and what killed runs left behind.

    Models that are or were in use, that others were made from, that an open cycle needs, and those named
    stay.
    """
    from al_loop.models.gc import gc

    workspace = open_workspace(start)
    with workspace.lock():
        for line in gc(workspace, keep, dry_run=dry_run, pictures=pictures):
            say(line)
