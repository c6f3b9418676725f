"""`python -m render RECIPE --count N --seed S --out DIR`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from render.dataset import render_dataset
from render.errors import RenderError
from render.writers import failures


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--count", type=click.IntRange(min=1), required=True, help="Images in the dataset, old ones included."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, other images."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to fill."
)
@click.option("--python", default=None, help="A Python that has bpy.  [default: the one running this]")
@click.option(
    "--threads", type=click.IntRange(min=1), default=None, help="Render threads.  [default: all cores]"
)
def main(recipe: Path, count: int, seed: int, out: Path, python: str | None, threads: int | None) -> None:
    """Render COUNT images of RECIPE (a TOML file) with COCO boxes; called again, it goes on where it was."""
    began = time.monotonic()
    try:
        coco = render_dataset(recipe, out, count, seed, python=python, threads=threads, on_progress=_progress)
    except RenderError as error:
        raise click.ClickException(str(error)) from None
    failed = failures(out, count)
    click.echo(f"{coco}: {count - len(failed)} images, {time.monotonic() - began:.0f} s")
    if failed:
        names = ", ".join(f"records/{record.index:06d}.json" for record in failed)
        click.echo(
            f"{len(failed)} images failed and were left out; to try them again remove {names}", err=True
        )


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{done}/{total} images", err=True, nl=done == total)


if __name__ == "__main__":
    main()
