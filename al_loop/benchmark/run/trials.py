"""Chains of units: the cycles of one strategy with one seed, one after another; several chains side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from al_loop.benchmark.run.cycle_run import Room, Unit, forget_weights, judge_start, run_unit
from al_loop.benchmark.run.progress import Overall, Worked
from al_loop.core.console import Reporter
from al_loop.core.errors import TrainingError

#: In place of a strategy where the first images are drawn by lot.
BY_LOT = "by-lot"

Chain = tuple[Unit, ...]


@dataclass(frozen=True)
class Row:
    """One point of a learning curve. hole: why there is none.  by_lot: no strategy picked, but a lot for all of them.

    judged: set -> `al_loop.structures.images.Metrics` and `al_loop.evaluation.detection_counts.Counts` as plain data.
    """

    start: str
    strategy: str
    seed: int
    cycle: int
    batch: int
    labels: int = 0
    boxes: int = 0
    picked: tuple[str, ...] = ()
    by_lot: bool = False
    judged: Mapping[str, Any] | None = None
    seconds: Mapping[str, float] | None = None
    hole: str = ""


@dataclass(frozen=True)
class Ended:
    """A chain that others ran: its number among those they were given, its points, and what they had to say."""

    number: int
    rows: list[Row]
    lines: list[str]
    worked: Worked


@dataclass(frozen=True)
class Crew:
    """Others who run chains, so many abreast. run: gives them as they end, in whatever order."""

    abreast: int
    run: Callable[[Sequence[Chain]], Iterator[Ended]]


def run_all(room: Room, crew: Crew | None, reporter: Reporter) -> list[Row]:
    """Every point of a benchmark: of the starts, then chain after chain, here or by a crew side by side."""
    rows = []
    for start in room.starts:
        begun = judge_start(room, start, reporter)
        if begun is not None:
            for strategy in room.asked.strategies:
                for seed in range(room.asked.seeds):
                    rows.append(Row(start, strategy, seed, 0, 0, judged=begun["judged"]))
    chains = list(_chains(room))
    return rows + (_alone(room, chains, reporter) if crew is None else _abreast(room, chains, crew, reporter))


def _alone(room: Room, chains: Sequence[Chain], reporter: Reporter) -> list[Row]:
    """Chain after chain, in this process."""
    rows, whole = list[Row](), Overall(reporter, sum(map(len, chains)))
    for chain in chains:
        reporter.line(f"{_name(chain)} ({whole})")
        made = run_chain(room, chain, whole, whole.step)
        whole.skip(len(chain) - sum(not row.hole for row in made))  # what comes after a hole
        rows += made
    return rows


def _abreast(room: Room, chains: Sequence[Chain], crew: Crew, reporter: Reporter) -> list[Row]:
    """First what chains have in common, so that no two do the same; then the rest of them. A part is a training."""
    lots = _by_lot(room, chains)
    mine = [len(chain) - (room.starts[chain[0].start].model is None) for chain in chains]
    whole = Overall(reporter, len(lots) + sum(mine), crew.abreast)
    made: dict[int, list[Row]] = {}
    with reporter.progress("trainings") as bar:
        whole.show(bar)
        for some, parts in ((lots, [1] * len(lots)), (chains, mine)):
            for ended in crew.run(some):
                whole.add(parts[ended.number], ended.worked)
                whole.show(bar)
                for line in (*ended.lines, f"{_name(some[ended.number])} is done ({whole})"):
                    reporter.line(line)
                made[ended.number] = ended.rows  # of the lots it is overwritten: chains read them, too
    return [row for number in range(len(chains)) for row in made[number]]


def run_chain(
    room: Room, chain: Chain, reporter: Reporter, step: Callable[[], None] = lambda: None
) -> list[Row]:
    """The points of a chain; a training that fails leaves a hole and ends it. step: called after each point."""
    model, labelled, rows = room.starts[chain[0].start].model, list[str](), list[Row]()
    last: Unit | None = None
    for unit in chain:
        # Without a model to ask, the first images are drawn by lot: one training serves all strategies.
        shared = replace(unit, strategy=BY_LOT) if model is None else unit
        point = Row(
            unit.start, unit.strategy, unit.seed, unit.cycle, unit.batch, by_lot=shared.strategy == BY_LOT
        )
        try:
            done, model = run_unit(room, shared, model, labelled, reporter)
        except TrainingError as error:
            reporter.line(f"{unit.name} failed, its chain ends here: {error}")
            return [*rows, replace(point, hole=str(error))]
        if last is not None and last.strategy != BY_LOT:
            forget_weights(room, last)
        last, labelled = shared, labelled + done["picked"]
        reporter.line(f"  {unit.name}: {done['labels']} labels, AP {done['judged']['validation']['ap']:.3f}")
        filled = {name: done[name] for name in ("labels", "boxes", "judged", "seconds")}
        rows.append(replace(point, picked=tuple(done["picked"]), **filled))
        step()
    if last is not None and last.batch:
        forget_weights(room, last)
    return rows


def _chains(room: Room) -> Iterator[Chain]:
    """Cycles that follow one another, or batches, each by itself."""
    asked = room.asked
    for start in room.starts:
        for strategy in asked.strategies:
            for seed in range(asked.seeds):
                for batch in asked.batches:
                    yield (Unit(start, strategy, seed, 1, batch, batch),)
                if not asked.batches:
                    yield tuple(Unit(start, strategy, seed, n + 1, asked.k) for n in range(asked.cycles))


def _by_lot(room: Room, chains: Sequence[Chain]) -> list[Chain]:
    """The first units that several chains share."""
    shared = (replace(c[0], strategy=BY_LOT) for c in chains if room.starts[c[0].start].model is None)
    return [(unit,) for unit in dict.fromkeys(shared)]


def _name(chain: Chain) -> str:
    unit = chain[0]
    return f"{unit.start}/{unit.strategy}/seed-{unit.seed}" + (f"/batch-{unit.batch}" if unit.batch else "")
