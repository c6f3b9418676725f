"""Learning curves of a comparison of strategies: AP over labels, boxes or annotator minutes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from al_loop.benchmark.results.labelling_cost import LabellingCost
from al_loop.benchmark.results.statistics import Interval, area, over_seeds
from al_loop.benchmark.run.cycle_run import CycleRun
from al_loop.benchmark.run.runner import Outcome
from al_loop.benchmark.run.trial import Row
from al_loop.benchmark.spec.spec import StrategyGrid

#: A position on a curve: cycle and batch size, 0 for none.
Position = tuple[int, int]


@dataclass(frozen=True)
class Point:
    """One position of a mean curve. cost, ap: means over the `ap.seeds` seeds that got there."""

    position: Position
    cost: float
    ap: Interval


class LearningCurves:
    """The rows of a benchmark by initial model, strategy and seed."""

    def __init__(
        self, outcome: Outcome, grid: StrategyGrid, cost: LabellingCost, target: float | None = None
    ) -> None:
        """Take the results.

        cost: of labels, in annotator minutes.
        target: AP to count labels for; None for that of the last point of `random`.
        """
        self.outcome, self.grid, self.cost, self.target = outcome, grid, cost, target
        self.rows: list[Row[CycleRun]] = outcome.rows
        self.strategies, self.seeds = grid.strategies, range(outcome.spec.seeds)
        self._boxes = {item.image.id: len(item.boxes) for item in outcome.datasets.pool}

    def minutes(self, row: Row[CycleRun]) -> float:
        """Return annotator minutes up to a row."""
        run = row.run
        before = [] if run.batch else self.curve(run.start, run.strategy, run.seed)
        picked = {i for r in (*before, row) if position(r) <= position(row) for i in r.picked}
        return self.cost.minutes((image, self._boxes[image]) for image in sorted(picked))

    def curve(self, start: str, strategy: str, seed: int) -> list[Row[CycleRun]]:
        """Return the rows of one seed that did not fail, by cycle or batch."""
        key = (start, strategy, seed)
        rows = [r for r in self.rows if (r.run.start, r.run.strategy, r.run.seed) == key and r.metrics]
        return sorted(rows, key=position)

    def picked(self, start: str, strategy: str, seed: int) -> list[str]:
        """Return the images that the strategy itself picked, by cycle."""
        return [i for row in self.curve(start, strategy, seed) if not row.at_random for i in row.picked]

    def final_rows(self, start: str, strategy: str) -> list[Row[CycleRun]]:
        """Return the last row of every curve that is complete."""
        last = self.positions(start)[-1]
        return [r for seed in self.seeds for r in self.curve(start, strategy, seed) if position(r) == last]

    def positions(self, start: str) -> list[Position]:
        """Return all positions that a complete curve has."""
        initial = [(0, 0)] if any(r.run.start == start and position(r) == (0, 0) for r in self.rows) else []
        if self.grid.batches:
            return [*initial, *((1, batch) for batch in sorted(self.grid.batches))]
        return [*initial, *((cycle, 0) for cycle in range(1, self.grid.cycles + 1))]

    def headings(self, start: str) -> dict[Position, str]:
        """Return the heading of each position: its labels, with the cycle where these differ."""
        headings = {}
        for at in self.positions(start):
            rows = [r for r in self.rows if r.run.start == start and position(r) == at]
            labels = sorted({row.labels for row in rows if row.metrics})
            if len(labels) == 1:
                headings[at] = f"{labels[0]} labels"
            else:
                cycle = f"batch {at[1]}" if at[1] else f"cycle {at[0]}"
                headings[at] = f"{cycle}, {labels[0]}–{labels[-1]} labels" if labels else cycle
        return headings

    def areas(self, start: str, strategy: str) -> dict[int, float]:
        """Return seed -> area under AP over labels, of the complete curves, over the range that all have."""
        curves = {(s, seed): self.curve(start, s, seed) for s in self.strategies for seed in self.seeds}
        longest = max(map(len, curves.values()), default=0)
        if not longest:
            return {}
        complete = {key: curve for key, curve in curves.items() if len(curve) == longest}
        low = max(curve[0].labels for curve in complete.values())
        high = min(curve[-1].labels for curve in complete.values())
        return {
            seed: area([row.labels for row in curve], [row.ap for row in curve], (low, high))
            for (name, seed), curve in complete.items()
            if name == strategy
        }

    def points(self, start: str, strategy: str, cost: str) -> list[Point]:
        """Return the mean curve over "labels", "boxes" or "minutes", of the seeds that got so far."""
        rows = [row for seed in self.seeds for row in self.curve(start, strategy, seed)]
        points = []
        for at in self.positions(start):
            here = [row for row in rows if position(row) == at]
            if here:
                costs = [self.minutes(r) if cost == "minutes" else float(getattr(r, cost)) for r in here]
                points.append(Point(at, float(np.mean(costs)), over_seeds([row.ap for row in here])))
        return points


def position(row: Row[CycleRun]) -> Position:
    """Return where on its curve a row is."""
    return row.run.cycle, row.run.batch
