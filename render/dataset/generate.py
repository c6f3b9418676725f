"""Render a dataset: plan the missing scenes, render them, merge their labels."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

from filelock import FileLock

from render.annotation.record_store import is_done, merge, open_dataset
from render.assets.load import Assets, load_assets
from render.core.errors import DatasetError
from render.core.files import write_atomically
from render.core.options import RenderOptions
from render.execution.jobs import Job
from render.execution.rendering import render_jobs
from render.planner.plan import plan, views_per_scene
from render.recipe.load import load_recipe
from render.recipe.tables import Recipe

#: Errors of file systems without locks: NFS without a lock service, FUSE, some network shares.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


def render_dataset(
    recipe: Recipe | Path,
    out: Path,
    count: int,
    seed: int,
    options: RenderOptions | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Path:
    """Render the missing images of a dataset and merge all labels into one COCO file.

    The result depends on recipe, assets and seed only: a run that was killed and repeated gives the same
        bytes.

    recipe: the recipe, or the path of its TOML file.
    out: folder of the dataset; images go to `out/images/`.
    count: number of images in the dataset, existing ones included.
    seed: >= 0; another seed gives other images.
    on_progress: called as `on_progress(done, count)` at the start and after every image.
    on_warning: called with a sentence for each file that was left out.

    Returns the path `out/annotations.json`. Raises the errors of `render.core.errors`.
    """
    options = options or RenderOptions()
    if count < 1 or seed < 0:
        raise DatasetError(f"expected count >= 1 and seed >= 0, got count {count} and seed {seed}")
    recipe, root = located(recipe, options.root)
    assets = load_assets(recipe, root, python=options.python)
    if on_warning is not None:
        for warning in assets.warnings:
            on_warning(warning)
    open_dataset(out, recipe, seed, assets.digest)
    with _locked(out):
        _remember_root(out, root)
        missing = [index for index in range(count) if not is_done(out, index)]
        report = on_progress or (lambda done, total: None)
        finished = itertools.count(count - len(missing))

        def advance(_: int | None = None) -> None:
            report(next(finished), count)

        advance()
        render_jobs(scenes(recipe, assets, seed, missing), out, options, advance, on_warning)
        return merge(out, count)


def scenes(recipe: Recipe, assets: Assets, seed: int, images: Iterable[int]) -> Iterator[Job]:
    """Plan, one by one, the scenes that the images are views of."""
    views = views_per_scene(recipe)
    for scene, group in groupby(images, key=lambda image: image // views):
        yield Job(plan(recipe, assets, seed, scene), tuple(group))


def located(recipe: Recipe | Path, root: Path | None) -> tuple[Recipe, Path]:
    """Return the recipe, read from its file if need be, and the folder that its paths are relative to."""
    if isinstance(recipe, Recipe):
        return recipe, root or Path.cwd()
    return load_recipe(recipe), root or recipe.parent


def remembered_root(out: Path) -> Path:
    """Return the folder that the paths in a dataset's recipe are relative to."""
    try:
        return (out / (out / "root.txt").read_text(encoding="utf-8").strip()).resolve()
    except OSError:
        return Path.cwd()


def _remember_root(out: Path, root: Path) -> None:
    """Write the folder to root.txt, relative to the dataset, so that both can be moved together."""
    path = out / "root.txt"
    if not path.exists():
        try:
            relative = os.path.relpath(root.resolve(), out.resolve())
        except ValueError:  # Windows: on another drive
            relative = str(root.resolve())
        write_atomically(path, relative.encode())


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Lock the dataset for this process. The system frees the lock of a killed process."""
    try:
        lock = FileLock(out / ".lock", fallback_to_soft=False).acquire(blocking=False)
    except TimeoutError:
        raise DatasetError(
            f"another render is writing {out}; wait for it, or choose another folder"
        ) from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise DatasetError(
                f"the file system of {out} has no locks ({error.strerror}): choose a folder on a local disk"
            ) from None
        raise DatasetError(f"{out}: cannot be written ({error}); choose another folder") from error
    with lock:
        yield
