"""The results of a benchmark as rows, and in words."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from al_loop.benchmark.chains import Row
from al_loop.benchmark.curves import (
    Interval,
    area,
    cost_to_reach,
    over_seeds,
    paired,
    verdict,
)
from al_loop.benchmark.pace import Pace
from al_loop.benchmark.sweep import Outcome
from al_loop.files import write_atomically, write_json

#: Strategies that every other is held against.
REFERENCES = ("random", "dbal")
_JUDGED = (
    "ap", "ap50", "ap75", "precision", "recall", "right", "misclassified", "missed", "false", "images_right",
)  # fmt: skip
_COLUMNS = (
    "start", "strategy", "seed", "cycle", "batch", "labels", "boxes", "minutes", "set", *_JUDGED,
    "seconds_select", "seconds_train", "hole",
)  # fmt: skip


class Results:
    """The points of a benchmark, by start, strategy and seed."""

    def __init__(self, outcome: Outcome, pace: Pace) -> None:
        """pace: how long people take."""
        self.outcome, self.rows, self.pace = outcome, outcome.rows, pace
        self._boxes = {item.image.id: len(item.boxes) for item in outcome.sets.pool}

    def minutes(self, row: Row) -> float:
        """Annotator minutes up to a point."""
        before = [] if row.batch else self.chain(row.start, row.strategy, row.seed)
        picked = {image for r in (*before, row) if r.labels <= row.labels for image in r.picked}
        return self.pace.minutes((image, self._boxes[image]) for image in sorted(picked))

    def chain(self, start: str, strategy: str, seed: int) -> list[Row]:
        """The points of a curve that were reached, fewest labels first."""
        mine = [r for r in self.rows if (r.start, r.strategy, r.seed) == (start, strategy, seed) and r.judged]
        return sorted(mine, key=lambda r: r.labels)

    def picked(self, start: str, strategy: str, seed: int) -> list[str]:
        """Images of a chain in the order of its cycles."""
        return [image for row in self.chain(start, strategy, seed) for image in row.picked]

    def areas(self, start: str, strategy: str) -> dict[int, float]:
        """Seed -> area under AP over labelled images, of the chains without a hole."""
        whole = max(
            (len(self.chain(start, s, seed)) for s in self._strategies for seed in self._seeds), default=0
        )
        found = {}
        for seed in self._seeds:
            chain = self.chain(start, strategy, seed)
            if chain and len(chain) == whole:
                found[seed] = area([r.labels for r in chain], [_ap(r) for r in chain])
        return found

    def points(self, start: str, strategy: str, cost: str) -> list[tuple[float, Interval]]:
        """Mean cost ("labels", "boxes" or "minutes") and AP over the seeds of every point of a curve."""
        chains = [c for c in (self.chain(start, strategy, seed) for seed in self._seeds) if c]
        found = []
        for place in range(min(map(len, chains), default=0)):
            rows = [chain[place] for chain in chains]
            costs = [self.minutes(r) if cost == "minutes" else float(getattr(r, cost)) for r in rows]
            found.append((float(np.mean(costs)), over_seeds([_ap(r) for r in rows])))
        return found

    @property
    def _strategies(self) -> Sequence[str]:
        return self.outcome.asked.strategies

    @property
    def _seeds(self) -> range:
        return range(self.outcome.asked.seeds)


def summary(results: Results) -> list[str]:
    """The results in lines of text."""
    asked, lines = results.outcome.asked, list[str]()
    for start in asked.starts:
        lines += ["", f"start: {start}"]
        lines += _table(results, start)
        lines += [f"  {line}" for line in (*differences(results, start), *savings(results, start))]
    lines += ["", f"annotator minutes: {results.pace}"]
    holes = [row for row in results.rows if row.hole]
    lines += [f"hole: {r.start}/{r.strategy}/seed-{r.seed}, cycle {r.cycle}: {r.hole}" for r in holes]
    return lines


def write_files(results: Results, out: Path) -> tuple[Path, Path]:
    """Write results.csv, a line for every point and set, and results.json with the picks."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for row in results.rows:
        for name, judged in (row.judged or {"": {}}).items():
            seconds = row.seconds or {}
            table.writerow(
                [
                    row.start, row.strategy, row.seed, row.cycle, row.batch, row.labels, row.boxes,
                    f"{results.minutes(row):.1f}", name,
                    *(f"{judged[key]:.6g}" if key in judged else "" for key in _JUDGED),
                    *(f"{seconds[key]:.1f}" if key in seconds else "" for key in ("select", "train")),
                    row.hole,
                ]
            )  # fmt: skip
    data, plain = out / "results.csv", out / "results.json"
    write_atomically(data, text.getvalue().encode())
    write_json(plain, {"points": [_plain(row) for row in results.rows], "summary": summary(results)})
    return data, plain


def _table(results: Results, start: str) -> list[str]:
    """Mean AP ± standard error of every strategy at every point, and the area under its curve."""
    rows = table(results, start)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def table(results: Results, start: str) -> list[list[str]]:
    """Cells of that table, the head first; a dash where no seed has got so far."""
    strategies = results.outcome.asked.strategies
    curves = {strategy: results.points(start, strategy, "labels") for strategy in strategies}
    longest = max(curves.values(), key=len)
    rows = [["strategy", *(f"{cost:.0f} labels" for cost, _ in longest), "area"]]
    for strategy, points in curves.items():
        cells = [_cell(value) for _, value in points] + ["–"] * (len(longest) - len(points))
        areas = list(results.areas(start, strategy).values())
        rows.append([strategy, *cells, _cell(over_seeds(areas) if areas else None)])
    return rows


def every_seed(results: Results, start: str) -> list[list[str]]:
    """AP of every chain at every point, a row for each strategy and seed, and its area; the head first."""
    asked = results.outcome.asked
    chains = {
        (s, seed): results.chain(start, s, seed) for s in asked.strategies for seed in range(asked.seeds)
    }
    longest = max(chains.values(), key=len)
    rows = [["strategy", "seed", *(f"{r.labels} labels" for r in longest), "area"]]
    for (strategy, seed), chain in chains.items():
        cells = [f"{_ap(r):.3f}" for r in chain] + ["–"] * (len(longest) - len(chain))
        whole = results.areas(start, strategy).get(seed)
        rows.append([strategy, str(seed), *cells, "–" if whole is None else f"{whole:.3f}"])
    return rows


def differences(results: Results, start: str) -> list[str]:
    """Each strategy against the references, in words."""
    asked, lines, said = results.outcome.asked, list[str](), set[frozenset[str]]()
    for reference in REFERENCES:
        theirs = results.areas(start, reference) if reference in asked.strategies else {}
        for strategy in asked.strategies:
            ours, pair = results.areas(start, strategy), frozenset((strategy, reference))
            if len(pair) == 2 and pair not in said and ours.keys() & theirs.keys():
                lines.append("area, " + verdict(strategy, reference, paired(ours, theirs)))
                said.add(pair)
    return lines


def savings(results: Results, start: str) -> list[str]:
    """Labels that each strategy needs for the AP that random ends with."""
    strategies = results.outcome.asked.strategies
    yardstick = results.points(start, "random", "labels") if "random" in strategies else []
    if len(yardstick) < 2:
        return []
    (most, last) = yardstick[-1]
    lines = [f"labels for AP {last.mean:.3f}, where random ends with {most:.0f}:"]
    for strategy in strategies:
        if strategy == "random":
            continue
        points = results.points(start, strategy, "labels")
        needed = cost_to_reach([cost for cost, _ in points], [value.mean for _, value in points], last.mean)
        said = "not reached" if needed is None else f"{needed:.0f}, {needed / most:.2f} of random's"
        lines.append(f"  {strategy}: {said}")
    return lines


def _cell(value: Interval | None) -> str:
    if value is None:
        return "–"
    return f"{value.mean:.3f}" + ("" if value.error is None else f" ± {value.error:.3f}")


def _ap(row: Row) -> float:
    assert row.judged is not None  # the callers saw to it
    return float(row.judged["validation"]["ap"])


def _plain(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}
