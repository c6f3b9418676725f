"""Results of a mix study: a table, a test of each cell, heat maps."""

from __future__ import annotations

from dataclasses import dataclass
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
    """A cell of the grid, over all seeds."""

    schedule: str
    real: int
    synthetic: int


@dataclass(frozen=True)
class Gain:
    """A cell with both kinds of images, compared with as many photographs alone.

    mean: difference in AP, over the seeds of both.
    p: see `one_sided_p`.
    """

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
        """Return the comparison with as many photographs alone; None if one of both has no results."""
        if cell.schedule in (REAL, RENDERED):
            return None
        mixed = {row.run.seed: row.ap for row in self.rows(cell)}
        alone = {row.run.seed: row.ap for row in self.rows(Cell(REAL, cell.real, 0))}
        shared = sorted(mixed.keys() & alone.keys())
        if not shared:
            return None
        values, reference = [mixed[s] for s in shared], [alone[s] for s in shared]
        difference = float(np.mean(values) - np.mean(reference))
        return Gain(difference, one_sided_p(values, reference), len(shared))

    def mean_ap(self, schedule: str, real: int, synthetic: int) -> float | None:
        """Return mean AP; one kind of images alone counts for all schedules."""
        schedule = REAL if not synthetic else RENDERED if not real else schedule
        values = [row.ap for row in self.rows(Cell(schedule, real, synthetic))]
        return float(np.mean(values)) if values else None


def _cell(row: Row[MixRun]) -> Cell:
    return Cell(row.run.schedule, row.run.real, row.run.synthetic)


def mix_table(cells: MixCells, dataset: str = "validation") -> list[list[str]]:
    """Return a row for each cell, averaged over completed seeds. The first row is the header."""
    heading = ["schedule", "photographs", "rendered", *METRIC_HEADINGS, "training, s"]
    table = [[*heading, "more than photographs alone", "p, one-sided"]]
    for cell in cells.cells():
        rows = cells.rows(cell)
        seconds = f"{np.mean([row.seconds['train'] for row in rows]):.0f}" if rows else FAILED
        gain = cells.gain(cell) if dataset == "validation" else None
        table.append(
            [
                cell.schedule,
                str(cell.real),
                str(cell.synthetic),
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
        lines.append(
            f"{cell.real} photographs, {cell.synthetic} rendered, {cell.schedule}: {gain.mean:+.3f} AP "
            f"over {cell.real} photographs alone{evidence}"
        )
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
    """Return an element of a page for each schedule; none where nothing has an AP."""

    def evident(cell: Cell) -> bool:
        gain = cells.gain(cell)
        return gain is not None and gain.is_evident

    grids = {
        schedule: [[cells.mean_ap(schedule, real, s) for s in cells.synthetic] for real in cells.real]
        for schedule in cells.grid.schedules
    }
    values = [value for grid in grids.values() for row in grid for value in row if value is not None]
    if not values:
        return {}
    span = min(values), max(values)
    return {
        schedule: draw_heatmap(
            grid,
            [[evident(Cell(schedule, real, s)) for s in cells.synthetic] for real in cells.real],
            cells.real,
            cells.synthetic,
            span,
            f"h{number}",
        )
        for number, (schedule, grid) in enumerate(grids.items())
    }
