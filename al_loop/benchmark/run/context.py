"""The context of all trials of a benchmark: datasets, initial models, settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from al_loop.benchmark.run.image_counts import clipped_mix, image_counts
from al_loop.benchmark.spec.datasets import Datasets, read_datasets
from al_loop.benchmark.spec.initial_models import InitialModel, find_initial_model
from al_loop.benchmark.spec.spec import BenchmarkSpec, MixGrid, StrategyGrid, TransferGrid, spec_record
from al_loop.core.config import Config
from al_loop.core.console import Reporter, Silent
from al_loop.images import repository
from al_loop.images.synthetic import without_mirroring
from al_loop.images.training_sets import labelled_files, rendered_beside, synthetic_images
from al_loop.state.database.store import Store
from al_loop.state.stages import Output, Stage, run_stage
from al_loop.state.workspace import Workspace, open_workspace
from al_loop.structures.images import LabelledImage

#: Raised when the same settings give other picks or trainings than before: runs are then done again.
_RECIPE = 4


@dataclass(frozen=True, eq=False)
class BenchmarkContext:
    """What all trials share.

    workspace: without images; it holds the runs and the settings of the trainings.
    spec: clipped to the datasets.
    rendered: images of a mix or transfer study; else those that the settings mix into trainings.
    record: content of `benchmark.json`.
    """

    workspace: Workspace
    spec: BenchmarkSpec
    datasets: Datasets
    initial_models: Mapping[str, InitialModel]
    rendered: list[LabelledImage]
    record: Mapping[str, Any]

    def folder_of(self, name: str) -> Path:
        """Return where a run keeps its files."""
        return self.workspace.root / "runs" / name

    def stage(self, name: str, **inputs: Any) -> Stage:
        """Return the stage of a run, which is repeated if these or the common inputs change."""
        common = {key: self.record[key] for key in ("pool", "validation", "tests", "iterations")}
        all_inputs = {**common, "recipe": _RECIPE, "settings": self.record["settings"], **inputs}
        return Stage(name, "run", self.folder_of(name), all_inputs)

    def run_stage(self, name: str, work: Callable[[Path], Output], **inputs: Any) -> Output:
        """Return the output of a run; do the work unless it was done for these inputs."""
        return run_stage(self.workspace.store, self.stage(name, **inputs), work)


@dataclass(frozen=True)
class ContextFactory:
    """Makes the context of a benchmark, here and in other processes.

    config: settings with the classes.
    home: the workspace of initial models and rendered images.
    """

    out: Path
    spec: BenchmarkSpec
    config: Config
    home: Path

    def __call__(self, reporter: Reporter | None = None) -> BenchmarkContext:
        """Read the datasets and find the initial models."""
        reporter, spec, config = reporter or Silent(), self.spec, self.config
        home = open_workspace(self.home)
        config = without_mirroring(home.with_settings(config), reporter).config
        sets = spec.pool, spec.validation, spec.tests
        datasets = read_datasets(*sets, config.classes, outlined=config.outlined)
        for line in datasets.lines:
            reporter.line(line)
        initial = {name: find_initial_model(model, home, config) for name, model in spec.starts.items()}
        labels_hash = partial(repository.labels_hash, outlines=config.outlined)
        hashes: dict[str, Any] = {
            "pool": labels_hash(datasets.pool),
            "validation": labels_hash(datasets.validation),
            "tests": {name: labels_hash(images) for name, images in datasets.tests.items()},
            "starts": {name: model.identity for name, model in initial.items()},
        }
        if isinstance(spec.grid, StrategyGrid):
            rendered = _replayed(home, config, datasets, reporter)
        else:
            rendered = _rendered(spec.grid, home, datasets, reporter)
        if rendered or not isinstance(spec.grid, StrategyGrid):
            hashes["rendered"] = labels_hash(rendered)
        spec = replace(spec, grid=_clipped(spec.grid, datasets.pool, rendered, reporter))
        self.out.mkdir(parents=True, exist_ok=True)
        workspace = Workspace(self.out, config, Store(":memory:"))
        record = spec_record(spec, hashes, config)
        return BenchmarkContext(workspace, spec, datasets, initial, rendered, record)


def _rendered(
    grid: MixGrid | TransferGrid, home: Workspace, datasets: Datasets, reporter: Reporter
) -> list[LabelledImage]:
    """Return the rendered images that no model is evaluated on."""
    files = grid.rendered
    images = labelled_files(home, files, reporter) if files else synthetic_images(home, reporter)
    return _not_evaluated(images, datasets)


def _replayed(home: Workspace, config: Config, datasets: Datasets, reporter: Reporter) -> list[LabelledImage]:
    """Return the rendered images for `replay` and `copy_paste`."""
    images = rendered_beside(home, config.train, reporter) or rendered_beside(home, config.pretrain, reporter)
    return _not_evaluated(images, datasets)


def _not_evaluated(images: list[LabelledImage], datasets: Datasets) -> list[LabelledImage]:
    evaluated = {item.image.id for items in datasets.evaluated.values() for item in items}
    return [item for item in images if item.image.id not in evaluated]


def _clipped(
    grid: StrategyGrid | MixGrid | TransferGrid,
    pool: Sequence[LabelledImage],
    rendered: Sequence[LabelledImage],
    reporter: Reporter,
) -> StrategyGrid | MixGrid | TransferGrid:
    """Return the grid with numbers that the sets have images for, and report what was changed."""
    if isinstance(grid, StrategyGrid):
        return _clipped_cycles(grid, len(pool), reporter)
    if isinstance(grid, MixGrid):
        return clipped_mix(grid, pool, rendered, reporter)
    real = image_counts("--real", grid.real, len(pool), reporter)
    return replace(grid, real=tuple(str(number) for number in real if number))


def _clipped_cycles(grid: StrategyGrid, pool: int, reporter: Reporter) -> StrategyGrid:
    """Return the grid with cycles and batches that the pool has images for, and report what was changed."""
    batches = tuple(dict.fromkeys(min(batch, pool) for batch in grid.batches))
    cycles = min(grid.cycles, -(-pool // grid.k))
    if batches != grid.batches:
        reporter.line(f"the pool has {pool} images: batches of {', '.join(map(str, batches))}")
    if not batches and cycles < grid.cycles:
        wanted = f"{grid.cycles} cycles of {grid.k}"
        reporter.line(f"{wanted} are more than the pool's {pool} images: {cycles} cycles")
    return replace(grid, batches=batches, cycles=cycles)
