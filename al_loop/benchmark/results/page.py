"""A benchmark as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from al_loop.benchmark.results.label_efficiency import savings_words
from al_loop.benchmark.results.plots import draw_curves
from al_loop.benchmark.results.summary import Results
from al_loop.benchmark.results.tables import HOLE, MEND, differences, every_seed, table
from al_loop.core.files import write_atomically
from al_loop.report.pictures import thumbnail
from al_loop.report.write import environment
from al_loop.state.workspace import now

_COSTS = ("labels", "boxes", "minutes")
#: Pictures of a strategy's first picks.
_SHOWN = 8
_SET_COLUMNS = {
    "ap": "AP", "ap50": "AP50", "precision": "precision", "recall": "recall", "right": "right",
    "misclassified": "misclassified", "missed": "missed", "false": "false", "images_right": "images right",
}  # fmt: skip


@dataclass(frozen=True)
class Picks:
    """What one strategy picked itself, over all seeds and cycles. shares: of each class among the boxes; overlap: with the
    others' picks of the same seed, in their order; pictures: of its first picks of seed 0.
    """

    strategy: str
    boxes_per_image: float
    shares: tuple[float, ...]
    overlap: tuple[float, ...]
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """The chains of one start."""

    start: str
    curves: dict[str, str]
    table: list[list[str]]
    seeds: list[list[str]]
    words: list[str]
    picks: list[Picks]
    per_class: list[list[str]]
    sets: dict[str, list[list[str]]]
    by_lot: bool  # whether the first images were


def write_page(results: Results, out: Path) -> Path:
    """Write report.html."""
    asked = results.outcome.asked
    sections = [_section(results, start, number) for number, start in enumerate(asked.starts)]
    html = (
        environment("benchmark/results", "report")
        .get_template("page.html")
        .render(
            asked=asked,
            sets=results.outcome.sets,
            sections=sections,
            holes=[row for row in results.rows if row.hole],
            mend=MEND,
            written=now(),
            pace=results.pace,
        )
    )
    path = out / "report.html"
    write_atomically(path, html.encode())
    return path


def _section(results: Results, start: str, number: int) -> Section:
    return Section(
        start,
        {cost: draw_curves(results, start, cost, 7.4, 3.8, f"c{number}{cost}") for cost in _COSTS},
        table(results, start),
        every_seed(results, start),
        [line.strip() for line in (*differences(results, start), *savings_words(results, start))],
        [_picks(results, start, strategy) for strategy in results.outcome.asked.strategies],
        _per_class(results, start),
        {name: _set(results, start, name) for name in ("validation", *results.outcome.sets.tests)},
        any(row.by_lot for row in results.rows if row.start == start),
    )


def _picks(results: Results, start: str, strategy: str) -> Picks:
    sets, asked = results.outcome.sets, results.outcome.asked
    known = {item.image.id: item for item in sets.pool}
    chosen = {seed: results.picked(start, strategy, seed) for seed in range(asked.seeds)}
    boxes = [known[image].boxes.labels for images in chosen.values() for image in images]
    labels = np.concatenate(boxes) if boxes else np.zeros(0, np.int64)
    counts = np.bincount(labels, minlength=len(asked.settings.classes))
    overlap = []
    for other in asked.strategies:
        shared = [_shared(chosen[seed], results.picked(start, other, seed)) for seed in chosen]
        overlap.append(float(np.mean(shared)) if shared else 0.0)
    own = (row.picked for row in results.chain(start, strategy, 0) if row.picked and not row.by_lot)
    first = next(own, ())
    pictures = [thumbnail(known[image].image.path) for image in first[:_SHOWN]]
    return Picks(
        strategy,
        len(labels) / max(1, len(boxes)),
        tuple((counts / max(1, counts.sum())).tolist()),
        tuple(overlap),
        tuple(picture for picture in pictures if picture),
    )


def _shared(a: Sequence[str], b: Sequence[str]) -> float:
    """Share of the picks that both have."""
    return len(set(a) & set(b)) / max(1, min(len(set(a)), len(set(b))))


def _per_class(results: Results, start: str) -> list[list[str]]:
    """Mean AP of every class at the end of the chains that got there; a head first."""
    asked = results.outcome.asked
    rows = [["strategy", *asked.settings.classes]]
    for strategy in asked.strategies:
        ends = results.ends(start, strategy)
        cells = []
        for name in asked.settings.classes:
            values = [end.judged["validation"]["per_class"][name] for end in ends if end.judged]
            some = [value for value in values if value is not None]
            cells.append(f"{np.mean(some):.3f}" if some else "–" if ends else HOLE)
        rows.append([strategy, *cells])
    return rows


def _set(results: Results, start: str, name: str) -> list[list[str]]:
    """What the models at the end of the chains, of those that got there, get right on one set, means over the seeds; a head first."""
    asked = results.outcome.asked
    rows = [["strategy", *_SET_COLUMNS.values()]]
    for strategy in asked.strategies:
        found = [
            end.judged[name] for end in results.ends(start, strategy) if end.judged and name in end.judged
        ]
        cells = [f"{np.mean([one[key] for one in found]):.3g}" if found else HOLE for key in _SET_COLUMNS]
        rows.append([strategy, *cells])
    return rows
