"""`python -m render`: make, preview, stats, validate, reproduce, export, schema."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click

from render.core.errors import RenderError
from render.core.files import visible
from render.core.options import IMAGE_TIMEOUT_S, RenderOptions

_PATH = click.Path(path_type=Path)
_FOLDER = click.Path(path_type=Path, file_okay=False)
#: Old names of commands, refused with the new one.
_RENAMED = {"again": "reproduce"}

_seed = click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True,
    help="Seed of the random choices; another seed gives other images.",
)  # fmt: skip


def _rendering(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every command that renders."""
    for option in (
        click.option(
            "--root", type=click.Path(path_type=Path, file_okay=False, exists=True),
            help="Folder that the recipe's paths are relative to.  [default: the recipe's own]",
        ),
        click.option(
            "--threads", type=click.IntRange(1, 1024),
            help="Render threads per worker.  [default: its share of the cores]",
        ),
        click.option("--python", help="A Python that has bpy.  [default: the one running this]"),
    ):  # fmt: skip
        command = option(command)
    return command


class _Commands(click.Group):
    """Commands that show a known error as a line of text, without traceback."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Refuse a command's old name with its new one."""
        if args and args[0] in _RENAMED:
            ctx.fail(f"'{args[0]}' is now called '{_RENAMED[args[0]]}'.")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except RenderError as error:
            raise click.ClickException(visible(str(error))) from None


@click.group(cls=_Commands)
def main() -> None:
    """Render annotated synthetic images from a recipe (a TOML file) with Blender."""


@main.command()
@click.argument("recipe", type=_PATH)
@click.option(
    "--count", type=click.IntRange(1, 10_000_000), required=True,
    help="Number of images in the dataset, existing ones included.",
)  # fmt: skip
@_seed
@click.option("--out", type=_FOLDER, required=True, help="Folder of the dataset.")
@click.option(
    "--workers", type=click.IntRange(1, 1024),
    help="Worker processes that share the cores.  [default: 1; on a cluster one per node]",
)  # fmt: skip
@click.option("--ray", metavar="ADDRESS", help="Render on a Ray cluster: auto, host:port or local.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(1, 604_800), default=IMAGE_TIMEOUT_S, show_default=True,
    help="Seconds that one image may take.",
)  # fmt: skip
@_rendering
def make(recipe: Path, count: int, seed: int, out: Path, **options: Any) -> None:
    """Render COUNT images of RECIPE with COCO labels.

    A second call resumes the dataset, or extends it to a larger COUNT.
    """
    from render.annotation.record_store import read_records
    from render.dataset.generate import render_dataset
    from render.dataset.summary import summary

    began = time.monotonic()
    try:
        with _progress() as progress:
            coco = render_dataset(
                recipe, out, count, seed, RenderOptions(**options), on_progress=progress, on_warning=_warn
            )
    except KeyboardInterrupt:
        _print(f"stopped; run the same command again to resume: {out} holds what is done", err=True)
        raise
    _print(f"{coco}: {time.monotonic() - began:.0f} s")
    for line in summary(out, count):
        _print(line)
    if not any(record.status == "done" for record in read_records(out, count)):
        raise click.ClickException("no image was rendered, see above; change the recipe and --out")


@main.command()
@click.argument("source", type=_PATH)
@click.option(
    "--images", type=click.IntRange(1, 60), default=12, show_default=True, help="Images on the sheet."
)
@_seed
@click.option("--out", type=_PATH, help="JPEG to write.  [default: the recipe's name and -preview.jpg, here]")
@_rendering
def preview(source: Path, images: int, seed: int, out: Path | None, **options: Any) -> None:
    """Draw a contact sheet of SOURCE with boxes, names and masks (at most 200 kB).

    SOURCE is a rendered dataset, a COCO file, or a recipe: a few small images of it are rendered in seconds.
    """
    from render.inspect.preview import preview_dataset, preview_recipe

    sheet = out or Path(f"{source.resolve().stem}-preview.jpg")
    if source.is_dir() or source.suffix == ".json":
        data = preview_dataset(source, sheet, images=images, on_warning=_warn)
    else:
        choices = RenderOptions(**options)
        with _progress() as progress:
            data = preview_recipe(
                source, sheet, choices, images=images, seed=seed, on_progress=progress, on_warning=_warn
            )
    _print(
        f"{sheet}: {len(data.pictures)} images, {len(data.bbox)} labels, {data.empty} images empty, "
        f"{sheet.stat().st_size // 1000} kB"
    )


@main.command()
@click.argument("dataset", type=_PATH)
@click.option("--against", type=_PATH, help="COCO file of photographs to compare with.")
@click.option("--out", type=_PATH, help="Folder for stats.json and stats.png.  [default: the dataset's]")
def stats(dataset: Path, against: Path | None, out: Path | None) -> None:
    """Measure DATASET (a folder or COCO file): sizes, positions, classes and light.

    With --against, list the largest differences from photographs.
    """
    from render.inspect.stats import compare, table, write_report

    report = compare(dataset, against, on_warning=_warn)
    _print(table(report))
    data, chart = write_report(report, out or (dataset if dataset.is_dir() else dataset.parent))
    _print(f"{data}\n{chart}")


@main.command()
@click.argument("dataset", type=_PATH)
def validate(dataset: Path) -> None:
    """Check every record, image, hash, box and mask of DATASET (a folder or COCO file).

    The exit status is 1 if there is a problem.
    """
    from render.dataset.validate import validate as check

    verdict = check(dataset)
    for problem in verdict.problems:
        _print(problem, err=True)
    _print(
        f"{dataset}: {verdict.images} images, {verdict.annotations} labels, {verdict.skipped} skipped, "
        f"{verdict.failed} failed, {len(verdict.problems)} problems, {verdict.empty} images empty"
    )
    if verdict.problems:
        raise click.exceptions.Exit(1)


@main.command()
@click.argument("dataset", type=_PATH)
@click.argument("image", type=click.IntRange(0, 9_999_999))
@click.option("--keep", type=_PATH, help="File for a copy of the new image.")
@_rendering
def reproduce(dataset: Path, image: int, keep: Path | None, **options: Any) -> None:
    """Render image number IMAGE of DATASET again and compare it bit for bit.

    The exit status is 1 if image or labels differ.
    """
    from render.dataset.reproduce import reproduce_image

    result = reproduce_image(dataset, image, RenderOptions(**options), keep=keep)
    for difference in result.differences:
        _print(difference, err=True)
    verdict = "differs" if result.differences else "the same, bit for bit"
    _print(f"{dataset} image {image}: {verdict}")
    if result.differences:
        raise click.exceptions.Exit(1)


@main.group()
def export() -> None:
    """Write a dataset's labels in another format, beside its COCO file."""


@export.command()
@click.argument("dataset", type=_PATH)
@click.option("--outlines", is_flag=True, help="Write outlines instead of boxes, for segmentation.")
def yolo(dataset: Path, outlines: bool) -> None:
    """Write labels/*.txt and data.yaml for YOLO."""
    from render.annotation.record_store import write_yolo

    _print(write_yolo(dataset, outlines=outlines))


@export.command()
@click.argument("dataset", type=_PATH)
@click.option(
    "--kind", default="colour", show_default=True,
    type=click.Choice(("colour", "class", "instance", "onehot")),
    help="A colour per class, a number per class, a number per label, or an image per class.",
)  # fmt: skip
def masks(dataset: Path, kind: Literal["colour", "class", "instance", "onehot"]) -> None:
    """Write masks as PNG images; the recipe must have labels.masks."""
    from render.annotation.record_store import write_masks

    _print(write_masks(dataset, kind))


@main.command()
def schema() -> None:
    """Print the JSON Schema of a recipe."""
    import msgspec

    from render.recipe.json_schema import recipe_schema

    _print(msgspec.json.format(msgspec.json.encode(recipe_schema()), indent=2).decode())


def _print(text: object, *, err: bool = False) -> None:
    """Print lines; escape control characters, as file names may hold them."""
    click.echo(visible(str(text)), err=err)


def _warn(sentence: str) -> None:
    _print(f"warning: {sentence.rstrip()}", err=True)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal; elsewhere print a line per minute."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console, printed = Console(stderr=True), time.monotonic()
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def report(done: int, total: int) -> None:
            nonlocal printed
            bar.update(task, completed=done, total=total)
            if not console.is_terminal and time.monotonic() - printed >= 60:
                printed = time.monotonic()
                _print(f"{done}/{total} images", err=True)

        yield report


if __name__ == "__main__":
    main()
