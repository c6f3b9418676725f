"""`python -m render`: make, preview, stats, validate, again, export, schema."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Literal

import click

from render.core.errors import RenderError
from render.core.files import visible

_FILE = click.Path(path_type=Path)
_python = click.option(
    "--python", default=None, help="A Python that has bpy.  [default: the one running this]"
)
_threads = click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    default=None,
    help="Render threads of a worker.  [default: its cores]",
)
_seed = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Another seed, other images.",
)
_root = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=None,
    help="Folder that the recipe's paths are relative to.  [default: the recipe's own]",
)


class _Commands(click.Group):
    """Commands whose known errors are a line of text, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except RenderError as error:
            raise click.ClickException(visible(str(error))) from None


@click.group(cls=_Commands)
def main() -> None:
    """Annotated synthetic images from a recipe (a TOML file), rendered by Blender."""


@main.command()
@click.argument("recipe", type=_FILE)
@click.option(
    "--count",
    type=click.IntRange(1, 10_000_000),
    required=True,
    help="Images in the dataset, old ones included.",
)
@_seed
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to fill."
)
@_python
@_threads
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    default=None,
    help="Worker processes, each with its share of the cores.  [default: 1, on a cluster one per node]",
)
@click.option(
    "--ray", default=None, metavar="ADDRESS", help="Render on a Ray cluster: auto, host:port, local."
)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 604_800),
    default=300.0,
    show_default=True,
    help="Seconds an image may take.",
)
@_root
def make(
    recipe: Path,
    count: int,
    seed: int,
    out: Path,
    python: str | None,
    threads: int | None,
    workers: int | None,
    ray: str | None,
    timeout: float,
    root: Path | None,
) -> None:
    """Render COUNT images of RECIPE with COCO labels; called again, it goes on where it was."""
    from render.annotation.record_store import read_records
    from render.dataset.generate import render_dataset
    from render.dataset.summary import summary

    began = time.monotonic()
    try:
        coco = render_dataset(
            recipe,
            out,
            count,
            seed,
            python=python,
            threads=threads,
            workers=workers,
            ray=ray,
            timeout_s=timeout,
            root=root,
            on_progress=_Progress(),
            on_warning=_warn,
        )
    except KeyboardInterrupt:
        _say(f"\nstopped; the same command goes on from here: {out} keeps what is done", err=True)
        raise
    _say(f"{coco}: {time.monotonic() - began:.0f} s")
    for line in summary(out, count):
        _say(line)
    if not any(record.status == "done" for record in read_records(out, count)):
        raise click.ClickException("not one image was rendered: see above why; change the recipe, and --out")


@main.command()
@click.argument("source", type=_FILE)
@click.option(
    "--images", type=click.IntRange(1, 60), default=12, show_default=True, help="Images on the sheet."
)
@_seed
@click.option(
    "--out",
    type=_FILE,
    default=None,
    help="JPEG to write.  [default: the recipe's name and -preview.jpg, here]",
)
@_python
@_threads
@_root
def preview(
    source: Path,
    images: int,
    seed: int,
    out: Path | None,
    python: str | None,
    threads: int | None,
    root: Path | None,
) -> None:
    """Draw a contact sheet of SOURCE with boxes, names and masks, 200 kB at most.

    SOURCE is a recipe, of which a few small images are rendered in seconds, or a rendered dataset or COCO file.
    """
    from render.dataset.generate import Crew
    from render.inspect.preview import preview_dataset, preview_recipe

    to = out or Path(f"{source.resolve().stem}-preview.jpg")
    if source.is_dir() or source.suffix == ".json":
        data = preview_dataset(source, to, images=images, on_warning=_warn)
    else:
        crew = Crew(python, threads)
        progress, warn = _Progress(), _warn
        data = preview_recipe(
            source, to, images=images, seed=seed, crew=crew, root=root, on_progress=progress, on_warning=warn
        )
    _say(
        f"{to}: {len(data.pictures)} images, {len(data.bbox)} labels, {data.empty} images empty, {to.stat().st_size // 1000} kB"
    )


@main.command()
@click.argument("dataset", type=_FILE)
@click.option("--against", type=_FILE, default=None, help="COCO file of photographs to compare with.")
@click.option(
    "--out", type=_FILE, default=None, help="Folder for stats.json and stats.png.  [default: the dataset's]"
)
def stats(dataset: Path, against: Path | None, out: Path | None) -> None:
    """Say how DATASET (a folder or COCO file) looks: sizes, places, classes, light; and what differs most."""
    from render.inspect.stats import compare, table, write_report

    report = compare(dataset, against, on_warning=_warn)
    _say(table(report))
    data, chart = write_report(report, out or (dataset if dataset.is_dir() else dataset.parent))
    _say(f"{data}\n{chart}")


@main.command()
@click.argument("dataset", type=_FILE)
def validate(dataset: Path) -> None:
    """Check every record, picture, hash, box and mask of DATASET, or a COCO file; exit status 1 when anything is wrong."""
    from render.dataset.validate import validate as check

    verdict = check(dataset)
    for problem in verdict.problems:
        _say(problem, err=True)
    _say(
        f"{dataset}: {verdict.images} images, {verdict.annotations} labels, {verdict.skipped} skipped, "
        f"{verdict.failed} failed, {len(verdict.problems)} problems, {verdict.empty} images empty"
    )
    if verdict.problems:
        raise click.exceptions.Exit(1)


@main.command()
@click.argument("dataset", type=_FILE)
@click.argument("image", type=click.IntRange(0, 9_999_999))
@click.option("--keep", type=_FILE, default=None, help="Where to put the picture made.")
@_python
@_threads
@_root
def again(
    dataset: Path, image: int, keep: Path | None, python: str | None, threads: int | None, root: Path | None
) -> None:
    """Make IMAGE (its number) of DATASET anew and compare bit for bit; exit status 1 when it differs."""
    from render.dataset.generate import Crew
    from render.dataset.reproduce import render_again

    result = render_again(dataset, image, crew=Crew(python, threads), root=root, keep=keep)
    for difference in result.differences:
        _say(difference, err=True)
    verdict = "differs" if result.differences else "the same, bit for bit"
    _say(f"{dataset} image {image}: {verdict}")
    if result.differences:
        raise click.exceptions.Exit(1)


@main.group()
def export() -> None:
    """Write a dataset's labels in another form, beside its COCO file."""


@export.command()
@click.argument("dataset", type=_FILE)
@click.option("--outlines", is_flag=True, help="Outlines instead of boxes, for segmentation.")
def yolo(dataset: Path, outlines: bool) -> None:
    """Write labels/*.txt and data.yaml, as YOLO reads them."""
    from render.annotation.record_store import write_yolo

    _say(write_yolo(dataset, outlines=outlines))


@export.command()
@click.argument("dataset", type=_FILE)
@click.option(
    "--kind",
    type=click.Choice(("colour", "class", "instance", "onehot")),
    default="colour",
    show_default=True,
    help="A colour or a number per class, a number per label, or a picture per class.",
)
def masks(dataset: Path, kind: Literal["colour", "class", "instance", "onehot"]) -> None:
    """Write masks as PNG pictures; the recipe must have asked for masks (labels.masks)."""
    from render.annotation.record_store import write_masks

    _say(write_masks(dataset, kind))


@main.command()
def schema() -> None:
    """Print the JSON Schema of a recipe."""
    import msgspec

    from render.recipe.json_schema import recipe_schema

    _say(msgspec.json.format(msgspec.json.encode(recipe_schema()), indent=2).decode())


def _say(text: object, *, err: bool = False) -> None:
    """Print lines; names in them come from files."""
    click.echo(visible(str(text)), err=err)


def _warn(sentence: str) -> None:
    _say(f"warning: {sentence.rstrip()}", err=True)


class _Progress:
    """A line that counts, on a terminal; elsewhere one line a minute."""

    def __init__(self) -> None:
        self._began: tuple[float, int] | None = None
        self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        start, first = self._began = self._began or (now, done)
        left = (
            f", {(now - start) / (done - first) * (total - done) / 60:.0f} min left" if done > first else ""
        )
        if sys.stderr.isatty():
            click.echo(f"\r{done}/{total} images{left}   ", err=True, nl=done == total)
        elif now - self._told >= 60:
            self._told = now
            _say(f"{done}/{total} images{left}", err=True)


if __name__ == "__main__":
    main()
