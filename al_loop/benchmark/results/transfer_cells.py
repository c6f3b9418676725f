"""Results of a transfer study: a table, comparisons of cells that differ in one thing, plots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from al_loop.benchmark.results.statistics import Interval, over_seeds, paired_difference, verdict
from al_loop.benchmark.results.tables import FAILED, METRIC_HEADINGS, aligned, failure_summary, metric_cells
from al_loop.benchmark.results.transfer_plots import Series, draw_intervals, draw_validations
from al_loop.benchmark.run.runner import Outcome
from al_loop.benchmark.run.transfer import BOTH, FROZEN, IMAGENET, KEPT, NEW, RENDERS, TRAINABLE, TransferRun
from al_loop.benchmark.run.trial import Row
from al_loop.benchmark.spec.spec import TransferGrid

_ORDER = {name: number for number, name in enumerate((IMAGENET, RENDERS, BOTH, TRAINABLE, FROZEN, NEW, KEPT))}
_HEADINGS = ("parameters trained", "s per image", "steps to convergence", "training, s")


class Cell(NamedTuple):
    """A cell of the grid, over all seeds."""

    pretraining: str
    encoder: str
    decoder: str
    real: int

    def __str__(self) -> str:
        """As in "both, frozen encoder, kept decoder"."""
        return f"{self.pretraining}, {self.encoder} encoder, {self.decoder} decoder"


class TransferCells:
    """The rows of a transfer study by cell."""

    def __init__(self, outcome: Outcome, grid: TransferGrid) -> None:
        """Take the results."""
        self.outcome, self.real = outcome, [int(n) for n in grid.real]
        self.all_rows: list[Row[TransferRun]] = outcome.rows

    def cells(self, real: int | None = None) -> list[Cell]:
        """Return all cells, or those of one number of photographs."""
        cells = {_cell(row) for row in self.all_rows if real in (None, row.run.real)}
        return sorted(cells, key=lambda cell: (cell.real, *(_ORDER[name] for name in cell[:3])))

    def rows(self, cell: Cell) -> list[Row[TransferRun]]:
        """Return the rows of a cell that did not fail, by seed."""
        rows = [row for row in self.all_rows if row.metrics is not None and _cell(row) == cell]
        return sorted(rows, key=lambda row: row.run.seed)

    def differences(self) -> Iterator[tuple[Cell, Cell, Interval]]:
        """Yield two cells that differ in one thing, and the paired difference of their AP."""
        cells = set(self.cells())
        for cell in self.cells():
            references = cell._replace(pretraining=IMAGENET), cell._replace(encoder=TRAINABLE)
            for other in (*references, cell._replace(decoder=NEW)):
                values, base = ({row.run.seed: row.ap for row in self.rows(c)} for c in (cell, other))
                if other != cell and other in cells and values.keys() & base.keys():
                    yield cell, other, paired_difference(values, base)


def _cell(row: Row[TransferRun]) -> Cell:
    return Cell(row.run.pretraining, row.run.encoder, row.run.decoder, row.run.real)


def transfer_table(cells: TransferCells, dataset: str = "validation") -> list[list[str]]:
    """Return a row for each cell, averaged over completed seeds. The first row is the header."""
    ap, *further = METRIC_HEADINGS
    table = [["pretraining", "encoder", "decoder", "photographs", ap, *_HEADINGS, *further]]
    for cell in cells.cells():
        rows = cells.rows(cell)
        ap, *further = metric_cells(rows, dataset, cells.outcome.spec.seeds)
        costs = _costs(rows) if rows else [FAILED] * len(_HEADINGS)
        table.append([*map(str, cell), ap, *costs, *further])
    return table


def _costs(rows: list[Row[TransferRun]]) -> list[str]:
    """Return the cells below _HEADINGS."""
    parameters, image_s, step, train_s = (
        float(np.mean([source[key] for source in sources]))
        for sources, key in (
            ([row.details for row in rows], "trained_parameters"),
            ([row.seconds for row in rows], "image"),
            ([row.details for row in rows], "convergence_step"),
            ([row.seconds for row in rows], "train"),
        )
    )
    return [f"{parameters / 1e6:.2f} M", f"{image_s:.3f}", f"{step:.0f}", f"{train_s:.0f}"]


def transfer_summary(cells: TransferCells) -> list[str]:
    """Return the results as lines of text."""
    return ["", *aligned(transfer_table(cells)), "", *transfer_sentences(cells)]


def transfer_sentences(cells: TransferCells) -> list[str]:
    """Return the comparisons, and the failures."""
    lines = [
        f"{cell.real} photographs: {verdict(f'({cell})', f'({other})', difference)}"
        for cell, other, difference in cells.differences()
    ]
    return [*lines, *failure_summary(cells.all_rows)]


def transfer_content(cells: TransferCells) -> dict[str, Any]:
    """Return what the template transfer.html shows."""
    return {
        "rendered": len(cells.outcome.rendered),
        "plots": {real: _plots(cells, real) for real in cells.real},
        "table": transfer_table(cells),
        "tests": {name: transfer_table(cells, name) for name in cells.outcome.datasets.tests},
        "sentences": transfer_sentences(cells),
    }


def _plots(cells: TransferCells, real: int) -> dict[str, str]:
    """Return the plots of one number of photographs by their description; none where all runs failed."""
    series = []
    for cell in cells.cells(real):
        rows = cells.rows(cell)
        if rows:
            curves = [row.details["validations"] for row in rows]
            points = [
                (float(validations[0][0]), float(np.mean([ap for _, ap in validations])))
                for validations in zip(*curves, strict=True)
            ]
            colour = _ORDER[cell.pretraining] + 1
            style = cell.encoder == FROZEN, cell.decoder == NEW
            series.append(Series(str(cell), colour, *style, points, over_seeds([row.ap for row in rows])))
    if not series:
        return {}
    return {
        "AP during the training": draw_validations(series, f"v{real}"),
        "AP of the final models": draw_intervals(series, f"a{real}"),
    }
