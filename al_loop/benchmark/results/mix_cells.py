"""Results of a mix study: a table, a test of each cell, heat maps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from al_loop.benchmark.results.heatmap import draw_heatmap
from al_loop.benchmark.results.statistics import ONE_SEED, one_sided_p
from al_loop.benchmark.results.tables import FAILED, METRIC_HEADINGS, aligned, failure_summary, metric_cells
from al_loop.benchmark.run.mix import REAL, RENDERED, MixRun
from al_loop.benchmark.run.runner import Outcome
from al_loop.benchmark.run.trial import Row
from al_loop.benchmark.spec.spec import MixGrid

#: A one-sided test below this is called evidence.
LEVEL = 0.05


class Cell(NamedTuple):
    """A cell of the grid, over all seeds. healthy, healthy_synthetic: see `MixRun`."""

    schedule: str
    real: int
    synthetic: int
    healthy: int | None = None
    healthy_synthetic: int | None = None

    def __str__(self) -> str:
        """As in "25 photographs, 100 rendered, joint"."""
        photographs = f"{self.real} photographs{_and_healthy(self.healthy)}"
        rendered = f"{self.synthetic} rendered{_and_healthy(self.healthy_synthetic)}"
        return f"{photographs}, {rendered}, {self.schedule}"


@dataclass(frozen=True)
class Gain:
    """A cell with both kinds of images, compared with photographs alone.

    real: number of these: as many as in the cell or, in a grid with a total, as many as its images.
    mean: difference in AP, over the seeds of both.
    p: see `one_sided_p`.
    """

    real: int
    mean: float
    p: float | None
    seeds: int

    @property
    def is_evident(self) -> bool:
        """Whether the test calls it evidence."""
        return self.p is not None and self.p < LEVEL

    @property
    def p_text(self) -> str:
        """As in "= 0.012"."""
        return "" if self.p is None else "< 0.001" if self.p < 0.0005 else f"= {self.p:.3f}"


class MixCells:
    """The rows of a mix study by cell."""

    def __init__(self, outcome: Outcome, grid: MixGrid) -> None:
        """Take the results."""
        self.outcome, self.grid = outcome, grid
        self.all_rows: list[Row[MixRun]] = outcome.rows
        self.real, self.synthetic = [int(n) for n in grid.real], [int(n) for n in grid.synthetic]

    def cells(self) -> list[Cell]:
        """Return all cells, those with one kind of images first."""
        order = {REAL: 0, RENDERED: 1}
        return sorted(set(map(_cell, self.all_rows)), key=lambda cell: (order.get(cell.schedule, 2), cell))

    def rows(self, cell: Cell) -> list[Row[MixRun]]:
        """Return the rows of a cell that did not fail, by seed."""
        rows = [row for row in self.all_rows if row.metrics is not None and _cell(row) == cell]
        return sorted(rows, key=lambda row: row.run.seed)

    def gain(self, cell: Cell) -> Gain | None:
        """Return the comparison with photographs alone; None if one of both has no results."""
        if cell.schedule in (REAL, RENDERED):
            return None
        real, none = self.grid.total or cell.real, None if cell.healthy_synthetic is None else 0
        mixed = {row.run.seed: row.ap for row in self.rows(cell)}
        alone = {row.run.seed: row.ap for row in self.rows(Cell(REAL, real, 0, cell.healthy, none))}
        shared = sorted(mixed.keys() & alone.keys())
        if not shared:
            return None
        values, reference = [mixed[s] for s in shared], [alone[s] for s in shared]
        difference = float(np.mean(values) - np.mean(reference))
        return Gain(real, difference, one_sided_p(values, reference), len(shared))

    def mean_ap(self, cell: Cell) -> float | None:
        """Return mean AP; one kind of images alone counts for all schedules."""
        if not cell.synthetic and not cell.healthy_synthetic:
            cell = cell._replace(schedule=REAL)
        elif not cell.real and not cell.healthy:
            cell = cell._replace(schedule=RENDERED)
        values = [row.ap for row in self.rows(cell)]
        return float(np.mean(values)) if values else None


def _cell(row: Row[MixRun]) -> Cell:
    run = row.run
    return Cell(run.schedule, run.real, run.synthetic, run.healthy, run.healthy_synthetic)


def _and_healthy(count: int | None) -> str:
    return "" if count is None else f" and {count} healthy"


def mix_table(cells: MixCells, dataset: str = "validation") -> list[list[str]]:
    """Return a row for each cell, averaged over completed seeds. The first row is the header."""
    kinds = {"photographs": "real", "healthy": "healthy", "rendered": "synthetic"}
    kinds["healthy rendered"] = "healthy_synthetic"
    shown = {heading: name for heading, name in kinds.items() if getattr(cells.grid, name) or name == "real"}
    heading = ["schedule", *shown, *METRIC_HEADINGS, "training, s"]
    table = [[*heading, "more than photographs alone", "p, one-sided"]]
    for cell in cells.cells():
        rows = cells.rows(cell)
        seconds = f"{np.mean([row.seconds['train'] for row in rows]):.0f}" if rows else FAILED
        gain = cells.gain(cell) if dataset == "validation" else None
        table.append(
            [
                cell.schedule,
                *(str(getattr(cell, name)) for name in shown.values()),
                *metric_cells(rows, dataset, cells.outcome.spec.seeds),
                seconds,
                f"{gain.mean:+.3f}" if gain else "–",
                (gain.p_text if gain else "") or "–",
            ]
        )
    return table


def mix_summary(cells: MixCells) -> list[str]:
    """Return the results as lines of text."""
    return ["", *aligned(mix_table(cells)), "", *mix_sentences(cells)]


def mix_sentences(cells: MixCells) -> list[str]:
    """Return the comparison of each cell with photographs alone, and the failures."""
    lines = []
    for cell in cells.cells():
        gain = cells.gain(cell)
        if gain is None:
            continue
        if gain.p is None:
            evidence = f" at {ONE_SEED}"
        else:
            more = ", more" if gain.is_evident else ": no evidence that it is more"
            evidence = f"{more} (one-sided p {gain.p_text}, {gain.seeds} seeds)"
        lines.append(f"{cell}: {gain.mean:+.3f} AP over {gain.real} photographs alone{evidence}")
    return [*lines, *failure_summary(cells.all_rows)]


def mix_content(cells: MixCells) -> dict[str, Any]:
    """Return what the template mix.html shows."""
    return {
        "grid": cells.grid,
        "rendered": len(cells.outcome.rendered),
        "heatmaps": _heatmaps(cells),
        "table": mix_table(cells),
        "tests": {name: mix_table(cells, name) for name in cells.outcome.datasets.tests},
        "sentences": mix_sentences(cells),
    }


def _heatmaps(cells: MixCells) -> dict[str, str]:
    """Return an element of a page for each schedule and number of healthy images; none without an AP."""

    def evident(cell: Cell) -> bool:
        gain = cells.gain(cell)
        return gain is not None and gain.is_evident

    rows, columns = cells.real, cells.synthetic
    healthy, rendered = (
        [None if not axis else int(number) for number in axis or [""]]
        for axis in (cells.grid.healthy, cells.grid.healthy_synthetic)
    )
    grids = {
        key: [[Cell(key[0], real, synthetic, *key[1:]) for synthetic in columns] for real in rows]
        for key in product(cells.grid.schedules, healthy, rendered)
    }
    aps = {key: [[cells.mean_ap(cell) for cell in row] for row in grid] for key, grid in grids.items()}
    values = [value for grid in aps.values() for row in grid for value in row if value is not None]
    if not values:
        return {}
    span = min(values), max(values)
    return {
        _title(*key): draw_heatmap(
            aps[key], [[evident(cell) for cell in row] for row in grid], rows, columns, span, f"h{number}"
        )
        for number, (key, grid) in enumerate(grids.items())
    }


def _title(schedule: str, healthy: int | None, rendered: int | None) -> str:
    """As in "joint, 100 healthy photographs, 0 healthy rendered images"."""
    photographs = "" if healthy is None else f", {healthy} healthy photographs"
    return schedule + photographs + ("" if rendered is None else f", {rendered} healthy rendered images")
