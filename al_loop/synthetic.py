"""Rendered datasets of a workspace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from al_loop.coco import read_coco, summarise
from al_loop.console import Reporter
from al_loop.errors import ConfigError, DataError, RenderingError
from al_loop.files import file_sha256
from al_loop.resources import resource
from al_loop.samples import ImageFile, LabelledImage
from al_loop.workspace import Workspace, now
from render import RenderError, render_dataset


def render_set(
    workspace: Workspace,
    recipe: str,
    count: int,
    seed: int,
    reporter: Reporter,
    *,
    root: Path | None = None,
    ray: str | None = None,
    workers: int | None = None,
) -> Path:
    """Render a dataset into the workspace and return its COCO file; goes on where it stopped.

    root: folder that the recipe's paths are relative to, its own when None.  ray: address of a cluster to do it on.
    workers: processes side by side; None: one here, on a cluster one for each node.
    """
    path = find_recipe(recipe)
    name = f"{path.stem}-{file_sha256(path)[:8]}-s{seed}"
    folder = workspace.synthetic / name
    try:
        with reporter.progress(f"render {path.stem}") as progress:
            coco = render_dataset(
                path,
                folder,
                count,
                seed,
                on_progress=progress,
                root=root,
                on_warning=reporter.line,
                ray=ray,
                workers=workers,
            )
    except RenderError as error:
        raise RenderingError(str(error)) from error
    found = read_coco(coco, workspace.config.classes)
    if found.problems:
        reporter.line(f"  {len(found.problems)} problems in {coco}:{summarise(found.problems)}")
    workspace.store.execute(
        "INSERT OR REPLACE INTO datasets VALUES (?, ?, ?, ?)", name, str(recipe), len(found.images), now()
    )
    boxes = sum(len(image.boxes) for image in found.images)
    reporter.line(
        f"rendered {len(found.images)} images with {boxes} boxes → {folder.relative_to(workspace.root)}"
    )
    return coco


def synthetic_images(workspace: Workspace) -> list[LabelledImage]:
    """Return all rendered images; DataError when there are none, or a class has no example."""
    names = [row["name"] for row in workspace.store.rows("SELECT name FROM datasets ORDER BY name")]
    if not names:
        raise DataError("no rendered images to pretrain on. Render some: al-loop render RECIPE --count 400")
    return labelled_files(workspace, [workspace.synthetic / name / "annotations.json" for name in names])


def labelled_files(workspace: Workspace, files: Sequence[Path]) -> list[LabelledImage]:
    """Return the images of COCO files; DataError when a class of the workspace has no example."""
    images = [
        LabelledImage(
            ImageFile(f"{file.parent.name}/{item.path.name}", item.path, item.width, item.height), item.boxes
        )
        for file in files
        for item in read_coco(file, workspace.config.classes).images
    ]
    seen = {int(label) for item in images for label in item.boxes.labels}
    missing = [name for i, name in enumerate(workspace.config.classes) if i not in seen]
    if missing:
        raise DataError(
            f"the images to pretrain on show no {', '.join(missing)}: expected every class of the workspace "
            f"({', '.join(workspace.config.classes)}). Render or add more, or correct the categories' names."
        )
    return images


def find_recipe(recipe: str) -> Path:
    """Return the file of a recipe given by path or by the name of a shipped one."""
    path = Path(recipe).expanduser()
    if path.is_file():
        return path
    shipped = sorted(p.stem for p in resource("configs/render").glob("*.toml"))
    if recipe in shipped:
        return resource(f"configs/render/{recipe}.toml")
    raise ConfigError(f"no recipe {recipe!r}: expected a TOML file, or one of {', '.join(shipped)}")
