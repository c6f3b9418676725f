"""The results of a benchmark as files: CSV, JSON and one HTML page."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from al_loop.benchmark.results.labelling_cost import LabellingCost
from al_loop.benchmark.results.learning_curves import LearningCurves
from al_loop.benchmark.results.mix_cells import MixCells, mix_content, mix_summary
from al_loop.benchmark.results.strategy_page import strategy_content
from al_loop.benchmark.results.strategy_tables import strategy_numbers, strategy_summary
from al_loop.benchmark.results.tables import RETRY, failure_lines
from al_loop.benchmark.run.runner import Outcome
from al_loop.benchmark.run.trial import Row
from al_loop.benchmark.spec.spec import MixGrid
from al_loop.core.files import write_atomically, write_json
from al_loop.report.write import environment
from al_loop.state.workspace import now

_METRICS = (
    "ap", "ap50", "ap75", "precision", "recall", "right", "misclassified", "missed", "false", "images_right",
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What is written about a benchmark.

    files: names of the CSV, JSON and HTML files.
    template: of the page.
    run_columns, cost_columns, seconds: columns of the CSV file: of the run, of its labels, of times.
    minutes: annotator minutes up to a row.
    summary: lines of text.
    numbers: further plain data for the JSON file.
    content: what the template shows.
    """

    outcome: Outcome
    files: tuple[str, str, str]
    template: str
    run_columns: tuple[str, ...]
    cost_columns: tuple[str, ...]
    seconds: tuple[str, ...]
    minutes: Callable[[Row[Any]], float]
    summary: list[str]
    numbers: dict[str, Any]
    content: Callable[[], dict[str, Any]]


def report_of(outcome: Outcome, cost: LabellingCost, target: float | None = None) -> Report:
    """Return the report of a benchmark; cost, target: see `LearningCurves`."""
    grid = outcome.spec.grid
    if isinstance(grid, MixGrid):
        cells = MixCells(outcome, grid)
        return Report(
            outcome,
            ("mix.csv", "mix.json", "mix.html"),
            "mix.html",
            run_columns=("schedule", "real", "synthetic", "seed"),
            cost_columns=(),
            seconds=("train",),
            minutes=lambda row: 0.0,
            summary=mix_summary(cells),
            numbers={},
            content=lambda: mix_content(cells),
        )
    curves = LearningCurves(outcome, grid, cost, target)
    return Report(
        outcome,
        ("results.csv", "results.json", "report.html"),
        "strategies.html",
        run_columns=("start", "strategy", "seed", "cycle", "batch"),
        cost_columns=("labels", "boxes", "minutes"),
        seconds=("select", "train"),
        minutes=curves.minutes,
        summary=strategy_summary(curves),
        numbers={"starts": {start: strategy_numbers(curves, start) for start in outcome.spec.starts}},
        content=lambda: strategy_content(curves),
    )


def write_report(report: Report, out: Path) -> list[Path]:
    """Write the files of a report and return their paths."""
    table, data, page = paths = [out / name for name in report.files]
    write_atomically(table, _csv(report).encode())
    rows = [_plain(row) for row in report.outcome.rows]
    write_json(data, {"runs": rows, **report.numbers, "summary": report.summary})
    write_atomically(page, _page(report).encode())
    return paths


def _csv(report: Report) -> str:
    """Return a line for each row and dataset."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    times = [f"seconds_{name}" for name in report.seconds]
    table.writerow([*report.run_columns, *report.cost_columns, "set", *_METRICS, *times, "failure"])
    for row in report.outcome.rows:
        costs = {"labels": row.labels, "boxes": row.boxes, "minutes": f"{report.minutes(row):.1f}"}
        for name, metrics in (row.metrics or {"": {}}).items():
            table.writerow(
                [
                    *(getattr(row.run, column) for column in report.run_columns),
                    *("" if row.failure else costs[column] for column in report.cost_columns),
                    name,
                    *(f"{metrics[key]:.6g}" if key in metrics else "" for key in _METRICS),
                    *(f"{row.seconds[key]:.1f}" if key in row.seconds else "" for key in report.seconds),
                    row.failure,
                ]
            )
    return text.getvalue()


def _plain(row: Row[Any]) -> dict[str, Any]:
    """Return a row as plain data, with the fields of its run beside its own."""
    return {**asdict(row.run), **{f.name: getattr(row, f.name) for f in fields(row) if f.name != "run"}}


def _page(report: Report) -> str:
    template = environment("benchmark/results", "report").get_template(report.template)
    return template.render(
        spec=report.outcome.spec,
        datasets=report.outcome.datasets,
        failures=failure_lines(report.outcome.rows),
        retry=RETRY,
        written=now(),
        **report.content(),
    )
