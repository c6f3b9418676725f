"""The points of a benchmark: chains, curves over the seeds, and areas under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from al_loop.benchmark.results.labelling_cost import Pace
from al_loop.benchmark.results.statistics import Interval, area, over_seeds
from al_loop.benchmark.run.runner import Outcome
from al_loop.benchmark.run.trials import Row

#: Where on a curve a point is: cycle and batch size, 0 for none.
Place = tuple[int, int]


@dataclass(frozen=True)
class Point:
    """One place of a mean curve. cost: mean over the seeds that have it, as is ap; ap.seeds: how many they are."""

    place: Place
    cost: float
    ap: Interval


class Results:
    """The points of a benchmark, by start, strategy and seed."""

    def __init__(self, outcome: Outcome, pace: Pace, target: float | None = None) -> None:
        """pace: how long people take.  target: the AP to count labels for; None: that at which random ends."""
        self.outcome, self.rows, self.pace, self.target = outcome, outcome.rows, pace, target
        self._boxes = {item.image.id: len(item.boxes) for item in outcome.sets.pool}

    @property
    def strategies(self) -> Sequence[str]:
        """Side by side."""
        return self.outcome.asked.strategies

    @property
    def seeds(self) -> range:
        """Repetitions."""
        return range(self.outcome.asked.seeds)

    def minutes(self, row: Row) -> float:
        """Annotator minutes up to a point."""
        before = [] if row.batch else self.chain(row.start, row.strategy, row.seed)
        picked = {image for r in (*before, row) if place(r) <= place(row) for image in r.picked}
        return self.pace.minutes((image, self._boxes[image]) for image in sorted(picked))

    def chain(self, start: str, strategy: str, seed: int) -> list[Row]:
        """The points of a curve that were reached, in the order of its cycles or batches."""
        mine = [r for r in self.rows if (r.start, r.strategy, r.seed) == (start, strategy, seed) and r.judged]
        return sorted(mine, key=place)

    def picked(self, start: str, strategy: str, seed: int) -> list[str]:
        """Images that the strategy itself picked, in the order of its cycles: not those drawn by lot for all."""
        return [i for row in self.chain(start, strategy, seed) if not row.by_lot for i in row.picked]

    def ends(self, start: str, strategy: str) -> list[Row]:
        """The last point of every chain that got to its end."""
        last = self.places(start)[-1]
        return [r for seed in self.seeds for r in self.chain(start, strategy, seed) if place(r) == last]

    def places(self, start: str) -> list[Place]:
        """Every place that chains of a start should have, whether or not any does."""
        asked = self.outcome.asked
        begun = [(0, 0)] if any(r.start == start and place(r) == (0, 0) for r in self.rows) else []
        if asked.batches:
            return [*begun, *((1, batch) for batch in sorted(asked.batches))]
        return [*begun, *((cycle, 0) for cycle in range(1, asked.cycles + 1))]

    def heads(self, start: str) -> dict[Place, str]:
        """What columns of a table are called: labels, with the cycle where chains differ in them."""
        found = {}
        for at in self.places(start):
            labels = sorted({r.labels for r in self.rows if r.start == start and place(r) == at and r.judged})
            if len(labels) == 1:
                found[at] = f"{labels[0]} labels"
            else:
                cycle = f"batch {at[1]}" if at[1] else f"cycle {at[0]}"
                found[at] = f"{cycle}, {labels[0]}–{labels[-1]} labels" if labels else cycle
        return found

    def areas(self, start: str, strategy: str) -> dict[int, float]:
        """Seed -> area under AP over labelled images, of the chains without a hole.

        Between the fewest and the most labels that all of them have, so that each is a mean over the same range.
        """
        whole = self._whole(start)
        if not whole:
            return {}
        low, high = (
            max(c[0].labels for c in whole.values()),
            min(c[-1].labels for c in whole.values()),
        )
        return {
            seed: area([r.labels for r in chain], [ap(r) for r in chain], (low, high))
            for (name, seed), chain in whole.items()
            if name == strategy
        }

    def points(self, start: str, strategy: str, cost: str) -> list[Point]:
        """Mean cost ("labels", "boxes" or "minutes") and AP at every place that some seed has, over those that do."""
        rows = [row for seed in self.seeds for row in self.chain(start, strategy, seed)]
        found = []
        for at in self.places(start):
            here = [row for row in rows if place(row) == at]
            if here:
                costs = [self.minutes(r) if cost == "minutes" else float(getattr(r, cost)) for r in here]
                found.append(Point(at, float(np.mean(costs)), over_seeds([ap(r) for r in here])))
        return found

    def _whole(self, start: str) -> dict[tuple[str, int], list[Row]]:
        """The chains that have every place that any of them has."""
        chains = {(s, seed): self.chain(start, s, seed) for s in self.strategies for seed in self.seeds}
        longest = max(map(len, chains.values()), default=0)
        return {key: chain for key, chain in chains.items() if chain and len(chain) == longest}


def place(row: Row) -> Place:
    """Where on its curve a row is."""
    return row.cycle, row.batch


def ap(row: Row) -> float:
    """AP on the validation set, of a row that has one."""
    assert row.judged is not None  # the callers saw to it
    return float(row.judged["validation"]["ap"])
