"""A whole dataset: plan what is missing, have it rendered, merge."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from render.annotation.record_store import is_done, merge, open_dataset, replace_file
from render.assets.load import Assets, load_assets
from render.core.errors import DatasetError
from render.execution.scheduler import Job, render_all
from render.execution.worker_process import Worker, available_cores, shared_out, worker_command
from render.planner.plan import plan, views_per_scene
from render.recipe.load import load_recipe
from render.recipe.tables import Recipe

#: Seconds one image may take before its worker is taken for hung.
IMAGE_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Crew:
    """Who renders.

    python: one that has bpy, ours when None.  threads: Cycles' in each worker, its share of the cores when
    None.  workers: None is one here, one for every node of a cluster.  ray: address of the cluster.
    """

    python: str | None = None
    threads: int | None = None
    workers: int | None = None
    timeout_s: float = IMAGE_TIMEOUT_S
    ray: str | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that render nothing."""
        for name in ("threads", "workers"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise DatasetError(f"expected {name} >= 1, got {number}")


def render_dataset(
    recipe: Recipe | Path,
    out: Path,
    count: int,
    seed: int,
    *,
    python: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
    workers: int | None = None,
    timeout_s: float = IMAGE_TIMEOUT_S,
    ray: str | None = None,
    root: Path | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Path:
    """Render images 0 to count - 1 of the dataset (recipe, seed) into `out`; what is there already stays.

    Returns the COCO file `out/annotations.json`; pictures lie in `out/images/`. `on_progress(done, count)` is
    called at the start and after every image, `on_warning(sentence)` for files that had to be left out; `root` is
    the folder that the recipe's paths are relative to (its own, or the current one); the rest is as in `Crew`. Killed at any moment and called again, it goes on
    and gives the same bytes, whoever renders. Raises the errors of `render.core.errors`.
    """
    if count < 1 or seed < 0:
        raise DatasetError(f"expected count >= 1 and seed >= 0, got count {count} and seed {seed}")
    crew = Crew(python, threads, workers, timeout_s, ray)
    recipe, root = located(recipe, root)
    assets = load_assets(recipe, root, python=python)
    if on_warning is not None:
        for warning in assets.warnings:
            on_warning(warning)
    open_dataset(out, recipe, seed, assets.digest, assets.before)
    with _only_one(out):
        _remember_root(out, root)
        missing = [index for index in range(count) if not is_done(out, index)]
        done = count - len(missing)
        tell = on_progress or (lambda done, total: None)
        tell(done, count)

        def count_up(index: int) -> None:
            nonlocal done
            done += 1
            tell(done, count)

        render_images(out, scenes(recipe, assets, seed, missing), crew, count_up, on_warning)
        return merge(out, count)


def render_images(
    out: Path,
    jobs: Iterable[Job],
    crew: Crew,
    on_done: Callable[[int], None],
    on_warning: Callable[[str], None] | None = None,
) -> None:
    """Render jobs into an open dataset folder, on this machine or on a cluster."""
    if crew.ray is not None:
        from render.execution.ray_workers import joined  # Ray is an extra

        with joined(crew.ray, out, crew.python, crew.threads, crew.workers) as cluster:
            render_all(
                jobs,
                cluster.start,
                out,
                timeout_s=crew.timeout_s,
                on_done=on_done,
                workers=cluster.seats,
                on_warning=on_warning,
            )
        return
    workers = crew.workers or 1
    shares = shared_out(available_cores(), workers)

    def start(seat: int) -> Worker:
        # One worker alone keeps all cores: pinning it would gain nothing.
        cores = shares[seat] if workers > 1 else None
        return Worker(worker_command(crew.python), out, crew.threads or len(shares[seat]), cores)

    render_all(
        jobs,
        start,
        out,
        timeout_s=crew.timeout_s,
        on_done=on_done,
        workers=workers,
        on_warning=on_warning,
    )


def scenes(recipe: Recipe, assets: Assets, seed: int, images: Iterable[int]) -> Iterator[Job]:
    """Plan the scenes that the images are views of, one after another."""
    views = views_per_scene(recipe)
    for scene, group in groupby(images, key=lambda image: image // views):
        yield Job(plan(recipe, assets, seed, scene), tuple(group))


def located(recipe: Recipe | Path, root: Path | None) -> tuple[Recipe, Path]:
    """The recipe, read if it is a file, and the folder that its paths are relative to."""
    if isinstance(recipe, Recipe):
        return recipe, root or Path.cwd()
    return load_recipe(recipe), root or recipe.parent


def remembered_root(out: Path) -> Path:
    """The folder that the paths in a dataset's recipe are relative to."""
    try:
        return (out / (out / "root.txt").read_text(encoding="utf-8").strip()).resolve()
    except OSError:
        return Path.cwd()


def _remember_root(out: Path, root: Path) -> None:
    """Keep it beside the dataset, relative to it, so that both may move together."""
    path = out / "root.txt"
    if not path.exists():
        try:
            relative = os.path.relpath(root.resolve(), out.resolve())
        except ValueError:  # Windows: on another drive
            relative = str(root.resolve())
        replace_file(path, relative.encode())


@contextlib.contextmanager
def _only_one(out: Path) -> Iterator[None]:
    """Hold the folder; the lock falls with the process, so a kill leaves none behind."""
    try:
        import fcntl
    except ImportError:  # Windows: two renders into one folder are the user's own affair
        yield
        return
    try:
        handle = os.open(out / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise DatasetError(f"{out}: cannot be written ({error}); choose another folder") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(
                f"another render is writing {out}; wait for it, or choose another folder"
            ) from None
        except OSError as error:
            raise DatasetError(
                f"the file system of {out} has no locks ({error.strerror}): choose a folder on a local disk"
            ) from None
        yield
    finally:
        os.close(handle)
