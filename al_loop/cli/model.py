"""al-loop render, al-loop pretrain, al-loop model ..."""

from __future__ import annotations

from pathlib import Path

import click

from al_loop.console import Terminal
from al_loop.workspace import open_workspace


@click.command()
@click.argument("recipe")
@click.option("--count", type=click.IntRange(min=1), required=True, help="Images of the set, in all.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=None,
    help="Folder that the recipe's paths are relative to.  [default: the recipe's own]",
)
@click.pass_obj
def render(start: Path | None, recipe: str, count: int, seed: int, root: Path | None) -> None:
    """Render synthetic images by RECIPE (a TOML file, or a shipped one such as "dice").

    The same recipe and seed go on where they stopped; a larger count extends the set.
    """
    from al_loop.synthetic import render_set

    workspace = open_workspace(start)
    with workspace.lock():
        render_set(workspace, recipe, count, seed, Terminal(), root=root)


@click.command()
@click.option(
    "--data",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A COCO file of labelled images to learn from, instead of the rendered sets; may be repeated.",
)
@click.pass_obj
def pretrain(start: Path | None, data: tuple[Path, ...]) -> None:
    """Train the first model on the rendered sets and evaluate it on the validation set."""
    from al_loop.pretrain import pretrain as run

    workspace = open_workspace(start)
    with workspace.lock():
        run(workspace, Terminal(), data)


@click.group()
def model() -> None:
    """Models: list them, compare two, import one."""


@model.command("import")
@click.argument("checkpoint")
@click.option("--config", "config", help="The mmdet config it belongs to; by default model.config's.")
@click.pass_obj
def import_(start: Path | None, checkpoint: str, config: str | None) -> None:
    """Use CHECKPOINT (a .pth file or URL, trained for this workspace's classes) as a model."""
    from al_loop.pretrain import import_checkpoint

    workspace = open_workspace(start)
    with workspace.lock():
        import_checkpoint(workspace, checkpoint, config, Terminal())


@model.command("list")
@click.pass_obj
def list_models(start: Path | None) -> None:
    """List the models, the oldest first; the current one is marked."""
    from al_loop.models import all_models, current_model, has_model, saved_metrics

    workspace = open_workspace(start)
    current = current_model(workspace).id if has_model(workspace) else None
    for item in all_models(workspace):
        metrics = saved_metrics(workspace, item.id)
        reached = f"AP {metrics.ap:.3f}  AP50 {metrics.ap50:.3f}" if metrics else "not evaluated"
        mark = "*" if item.id == current else " "
        click.echo(f"{mark} {item.id:<12} from {item.parent or '-':<12} {reached}  {item.created_at}")


@model.command()
@click.argument("first")
@click.argument("second", required=False)
@click.pass_obj
def compare(start: Path | None, first: str, second: str | None) -> None:
    """Hold model FIRST against SECOND, by default the current one: differences in AP, how sure, and where."""
    from al_loop.differing import differing
    from al_loop.models import current_model

    workspace = open_workspace(start)
    with workspace.lock():
        lines = differing(workspace, first, second or current_model(workspace).id, Terminal())
    for line in lines:
        click.echo(line)
