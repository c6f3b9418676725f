"""Rendered datasets of a workspace."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from msgspec import structs

from al_loop.core.console import Reporter
from al_loop.core.errors import ConfigError, RenderingError
from al_loop.core.files import file_sha256, json_hash
from al_loop.core.renamed_settings import TRAININGS
from al_loop.core.resources import resource
from al_loop.images.coco import read_coco, summarise
from al_loop.state.database.dataset_table import DatasetRow, all_datasets, write_dataset
from al_loop.state.workspace import Workspace, now
from render import RenderError, RenderOptions, load_assets, load_recipe, render_dataset
from render.annotation.record_store import FORMAT, read_identity


def render_set(
    workspace: Workspace,
    recipe: str,
    count: int,
    seed: int,
    reporter: Reporter,
    options: RenderOptions | None = None,
) -> Path:
    """Render a dataset into the workspace, or continue one, and return its COCO file.

    Another recipe or seed, or a changed file of the recipe, gives another dataset.
    """
    options = options or RenderOptions()
    path = find_recipe(recipe)
    try:
        folder = dataset_folder(workspace, path, seed, options.root)
        _report_others(workspace, folder, path, seed, reporter)
        with reporter.progress(f"render {path.stem}") as progress:
            coco = render_dataset(
                path, folder, count, seed, options, on_progress=progress, on_warning=reporter.line
            )
    except RenderError as error:
        raise RenderingError(str(error)) from error
    coco_set = read_coco(coco, workspace.config.classes)
    if coco_set.problems:
        reporter.line(f"  {len(coco_set.problems)} problems in {coco}:{summarise(coco_set.problems)}")
    write_dataset(workspace.store, DatasetRow(folder.name, str(recipe), len(coco_set.images), now()))
    boxes = sum(len(image.boxes) for image in coco_set.images)
    reporter.line(
        f"rendered {len(coco_set.images)} images with {boxes} boxes → {folder.relative_to(workspace.root)}"
    )
    return coco


def dataset_folder(workspace: Workspace, recipe: Path, seed: int, root: Path | None) -> Path:
    """Return the folder of the dataset for a recipe and a seed. root: as for `render_set`.

    Its name contains a hash of the recipe's text. If the recipe needs files, or if the renderer has changed
    since a set of that name was rendered, the hash includes the content of the files and the format of the
    renderer.
    """
    text = file_sha256(recipe)
    by_text = workspace.synthetic / f"{recipe.stem}-{text[:8]}-s{seed}"
    assets = load_assets(load_recipe(recipe), root or recipe.parent)
    fits = not assets.digest
    with suppress(RenderError):  # there is no such dataset
        stored = read_identity(by_text)
        fits = stored.format == FORMAT and assets.digest in ("", stored.assets_sha256)
    if fits:
        return by_text
    return workspace.synthetic / f"{recipe.stem}-{json_hash([text, assets.digest, FORMAT])[:8]}-s{seed}"


def _report_others(workspace: Workspace, folder: Path, recipe: Path, seed: int, reporter: Reporter) -> None:
    """Report older sets of the same recipe and seed, which `pretrain` uses too."""
    if folder.exists():
        return
    kind = re.compile(rf"{re.escape(recipe.stem)}-[0-9a-f]{{8}}-s{seed}")
    others = [row.name for row in all_datasets(workspace.store) if kind.fullmatch(row.name)]
    if others:
        reporter.line(
            f"the recipe {recipe.stem}, a file that it needs or the renderer has changed: a new set is "
            f"rendered. {', '.join(others)} stays, and pretrain uses it, too. To use only the new set: "
            f"al-loop pretrain --data synthetic/{folder.name}/annotations.json"
        )


def without_mirroring(workspace: Workspace, reporter: Reporter) -> Workspace:
    """Return the workspace with `augment.hflip` off if a rendered set has classes that mirror each other."""
    names = [row.name for row in all_datasets(workspace.store) if _has_mirrored_classes(workspace, row.name)]
    config = workspace.config
    if not names or not any(getattr(config, table).augment.hflip for table in TRAININGS):
        return workspace
    reporter.line(f"  no image is mirrored: labels.mirrored_classes is true in the recipe of {names[0]}")
    for table in TRAININGS:
        settings = getattr(config, table)
        settings = structs.replace(settings, augment=structs.replace(settings.augment, hflip=False))
        config = structs.replace(config, **{table: settings})
    return workspace.with_settings(config)


def _has_mirrored_classes(workspace: Workspace, name: str) -> bool:
    try:
        return read_identity(workspace.synthetic / name).recipe.labels.mirrored_classes
    except RenderError:  # missing, or of another version
        return False


def find_recipe(recipe: str) -> Path:
    """Return the file of a recipe, by path or by the name of a shipped recipe."""
    path = Path(recipe).expanduser()
    if path.is_file():
        return path
    shipped = sorted(p.stem for p in resource("configs/render").glob("*.toml"))
    if recipe in shipped:
        return resource(f"configs/render/{recipe}.toml")
    raise ConfigError(f"no recipe {recipe!r}: expected a TOML file, or one of {', '.join(shipped)}")
