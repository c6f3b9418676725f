"""Rendered datasets of a workspace."""

from __future__ import annotations

from pathlib import Path

from al_loop.coco import read_coco, summarise
from al_loop.console import Reporter
from al_loop.errors import ConfigError, RenderingError
from al_loop.files import file_sha256
from al_loop.resources import resource
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


def find_recipe(recipe: str) -> Path:
    """Return the file of a recipe given by path or by the name of a shipped one."""
    path = Path(recipe).expanduser()
    if path.is_file():
        return path
    shipped = sorted(p.stem for p in resource("configs/render").glob("*.toml"))
    if recipe in shipped:
        return resource(f"configs/render/{recipe}.toml")
    raise ConfigError(f"no recipe {recipe!r}: expected a TOML file, or one of {', '.join(shipped)}")
