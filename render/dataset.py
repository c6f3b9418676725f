"""A whole dataset: plan what is missing, have it rendered, merge."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from render.errors import DatasetError
from render.plan import plan
from render.pool import Worker, available_cores, render_all, worker_command
from render.recipe import Recipe, load_recipe
from render.writers import is_done, merge, open_dataset

#: Seconds one image may take before its worker is taken for hung.
IMAGE_TIMEOUT_S = 300.0


def render_dataset(
    recipe: Recipe | Path,
    out: Path,
    count: int,
    seed: int,
    *,
    python: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
    timeout_s: float = IMAGE_TIMEOUT_S,
) -> Path:
    """Render images 0 to count - 1 of the dataset (recipe, seed) into `out`; what is there already stays.

    Returns the COCO file `out/annotations.json`; pictures lie in `out/images/`. `python` is the Python that
    has bpy (ours when None), `on_progress(done, count)` is called at the start and after every image,
    `threads` are Cycles' (every core when None). Killed at any moment and called again, it goes on and gives
    the same bytes. Raises the errors of `render.errors`.
    """
    if count < 1 or seed < 0:
        raise DatasetError(f"expected count >= 1 and seed >= 0, got count {count} and seed {seed}")
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    tell = on_progress or (lambda done, total: None)
    open_dataset(out, recipe, seed)
    with _only_one(out):
        missing = [index for index in range(count) if not is_done(out, index)]
        done = count - len(missing)
        tell(done, count)

        def count_up(index: int) -> None:
            nonlocal done
            done += 1
            tell(done, count)

        render_all(
            (plan(recipe, seed, index) for index in missing),
            lambda: Worker(worker_command(python), out, threads or available_cores()),
            out,
            timeout_s=timeout_s,
            on_done=count_up,
        )
        return merge(out, count)


@contextlib.contextmanager
def _only_one(out: Path) -> Iterator[None]:
    """Hold the folder; the lock falls with the process, so a kill leaves none behind."""
    try:
        import fcntl
    except ImportError:  # Windows: two renders into one folder are the user's own affair
        yield
        return
    handle = os.open(out / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(
                f"another render is writing {out}; wait for it, or choose another folder"
            ) from None
        yield
    finally:
        os.close(handle)
