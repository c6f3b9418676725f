"""Previews a recipe or a dataset: a few small images on one contact sheet."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from render.annotation.record_store import merge, open_dataset, read_record, read_records
from render.assets.load import load_assets
from render.coco import LabelledSet, listed, read_coco
from render.core.errors import DatasetError
from render.core.files import write_atomically
from render.core.options import RenderOptions
from render.core.tempdirs import scratch_folder
from render.dataset.generate import located, scenes
from render.dataset.summary import scale_warnings
from render.execution.rendering import render_jobs
from render.inspect.contact_sheet import Cell, contact_sheet, to_jpeg
from render.planner.plan import views_per_scene
from render.recipe.distributions import Distribution, Scalar
from render.recipe.tables import Recipe

#: Longest side of the images of a preview, px.
LARGEST_SIDE_PX = 320
#: With the denoiser, 4 samples are enough for a preview.
SAMPLES = 4


def preview_recipe(
    recipe: Recipe | Path,
    to: Path,
    options: RenderOptions | None = None,
    *,
    images: int = 12,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> LabelledSet:
    """Render `images` scenes of a recipe at low resolution; draw them with labels into the JPEG `to`.

    Every image shows another scene, and the cameras take turns. A scene that fails is replaced by its reason.

    on_progress: called as `on_progress(done, images)` after every image.
    on_warning: called with a sentence for each file that was left out, and for labels of unlikely size.

    Returns the labels. Raises the errors of `render.core.errors`.
    """
    options = options or RenderOptions()
    _check_target(to)
    recipe, root = located(recipe, options.root)
    small = reduced_recipe(recipe)
    warn = on_warning or (lambda sentence: None)
    assets = load_assets(small, root, python=options.python)
    for warning in assets.warnings:
        warn(warning)
    chosen = one_image_per_scene(images, views_per_scene(small))
    report, rendered = on_progress or (lambda done, images: None), itertools.count(1)
    with scratch_folder("preview") as out:
        open_dataset(out, small, seed, assets.digest)
        render_jobs(
            scenes(small, assets, seed, chosen), out, options, lambda _: report(next(rendered), images)
        )
        data = read_coco(merge(out, chosen[-1] + 1))
        cells = _cells(data, out, chosen)
        size = f"{small.image.width}×{small.image.height}, {small.quality.samples} samples"
        sheet = contact_sheet(data, cells, f"{recipe.name}   seed {seed}, preview at {size}")
        write_atomically(to, to_jpeg(sheet))
        done = [record for record in read_records(out, chosen[-1] + 1) if record.status == "done"]
        for warning in scale_warnings(done):
            warn(warning)
        return data


def preview_dataset(
    dataset: Path, to: Path, *, images: int = 12, on_warning: Callable[[str], None] | None = None
) -> LabelledSet:
    """Draw images of a rendered dataset or COCO file, evenly spread, into the JPEG `to`.

    `on_warning(text)` is called with the entries that could not be read. An error names them in its message.
    """
    _check_target(to)
    data = read_coco(dataset)
    if not data.pictures:
        raise DatasetError(
            f"{listed(data.problems, dataset.name)}{dataset}: expected images to draw, got none"
        )
    if data.problems and on_warning is not None:
        on_warning(listed(data.problems, dataset.name))
    count = min(images, len(data.pictures))
    chosen = np.linspace(0, len(data.pictures) - 1, count).round().astype(int)
    cells = [Cell(data.pictures[i].name, int(i)) for i in chosen]
    title = f"{data.name}   {count} of {len(data.pictures)} images"
    write_atomically(to, to_jpeg(contact_sheet(data, cells, title)))
    return data


def reduced_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe with smaller images, fewer samples, and masks to draw."""
    scale = min(1.0, LARGEST_SIDE_PX / max(recipe.image.width, recipe.image.height))
    labels, sensor, change = recipe.labels, recipe.sensor, msgspec.structs.replace
    return change(
        recipe,
        image=change(
            recipe.image,
            width=max(32, round(recipe.image.width * scale)),
            height=max(32, round(recipe.image.height * scale)),
        ),
        quality=change(
            recipe.quality,
            samples=min(SAMPLES, recipe.quality.samples),
            denoise="off" if recipe.quality.denoise == "off" else "fast",
        ),
        labels=change(
            labels,
            masks="rle",
            min_visible_px=max(1, round(labels.min_visible_px * scale**2)),
            min_side_px=max(1, round(labels.min_side_px * scale)),
        ),
        sensor=change(
            sensor, blur_px=_scaled(sensor.blur_px, scale), motion_px=_scaled(sensor.motion_px, scale)
        ),
    )


def one_image_per_scene(count: int, views: int) -> list[int]:
    """Return one image of each scene, of the next view in turn."""
    return [scene * views + scene % views for scene in range(count)]


def _scaled(value: Scalar, factor: float) -> Scalar:
    """Scale a length in px, or its distribution."""
    if not isinstance(value, Distribution):
        return value * factor
    scaled = {
        name: tuple(float(x) * factor for x in bounds)
        for name in ("uniform", "normal", "loguniform", "choice")
        if (bounds := getattr(value, name)) is not None
    }
    return msgspec.structs.replace(value, **scaled)


def _cells(data: LabelledSet, out: Path, chosen: Sequence[int]) -> list[Cell]:
    places = {picture.name: number for number, picture in enumerate(data.pictures)}
    cells = []
    for image in chosen:
        record = read_record(out, image)
        if record is not None and record.status == "done":
            cells.append(Cell(f"{image}", places[record.file_name]))
        else:
            status, reason = (record.status, record.reason) if record else ("failed", "not rendered")
            # The last line of a traceback is its message; a sentence has one line.
            cells.append(Cell(f"image {image}: {status}", note=reason.strip().rpartition("\n")[2]))
    return cells


def _check_target(to: Path) -> None:
    if to.suffix.lower() not in (".jpg", ".jpeg"):
        raise DatasetError(f"{to}: expected a name that ends in .jpg, got {to.suffix or 'no ending'}")
    if not to.resolve().parent.is_dir():
        raise DatasetError(
            f"{to}: expected an existing folder, got {to.parent}; create it, or choose another"
        )
