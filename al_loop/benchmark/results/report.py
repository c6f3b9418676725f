"""The results of a benchmark as files: CSV, JSON and one HTML page."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from al_loop.benchmark.results.labelling_cost import LabellingCost
from al_loop.benchmark.results.learning_curves import LearningCurves
from al_loop.benchmark.results.mix_cells import MixCells, mix_content, mix_summary
from al_loop.benchmark.results.strategy_page import strategy_content
from al_loop.benchmark.results.strategy_tables import strategy_numbers, strategy_summary
from al_loop.benchmark.results.tables import RETRY, failure_lines
from al_loop.benchmark.results.transfer_cells import TransferCells, transfer_content, transfer_summary
from al_loop.benchmark.run.evaluation import MASK_COLUMNS
from al_loop.benchmark.run.runner import Outcome
from al_loop.benchmark.run.trial import Row
from al_loop.benchmark.spec.spec import MixGrid, TransferGrid
from al_loop.core.files import write_atomically, write_json
from al_loop.evaluation.detection_counts import COUNT_RULES
from al_loop.report.write import environment, write_page
from al_loop.state.workspace import now

_METRICS = (
    "ap", "ap50", "ap75", "precision", "recall", "right", "misclassified", "missed", "false", "images_right",
)  # fmt: skip
_MIX_COLUMNS = ("schedule", "real", "healthy", "synthetic", "healthy_synthetic")


@dataclass(frozen=True)
class Report:
    """The report of a benchmark.

    files: names of the CSV, JSON and HTML files.
    template: of the page.
    columns: of the CSV file, those of the run first.
    minutes: annotator minutes up to a row.
    summary: lines of text.
    numbers: further data for the JSON file.
    content: data for the template.
    """

    outcome: Outcome
    files: tuple[str, str, str]
    template: str
    columns: tuple[str, ...]
    minutes: Callable[[Row[Any]], float]
    summary: list[str]
    numbers: dict[str, Any]
    content: Callable[[], dict[str, Any]]


def report_of(outcome: Outcome, cost: LabellingCost, target: float | None = None) -> Report:
    """Return the report of a benchmark; cost, target: see `LearningCurves`."""
    grid, metrics = outcome.spec.grid, _metrics(outcome)
    if isinstance(grid, TransferGrid):
        transfer = TransferCells(outcome, grid)
        run_columns = ("pretraining", "encoder", "decoder", "real", "seed")
        costs = ("trained_parameters", "convergence_step", "seconds_image", "seconds_train")
        return Report(
            outcome,
            ("transfer.csv", "transfer.json", "transfer.html"),
            "transfer.html",
            (*run_columns, "set", *metrics, *costs, "failure"),
            minutes=lambda row: 0.0,
            summary=transfer_summary(transfer),
            numbers={},
            content=lambda: transfer_content(transfer),
        )
    if isinstance(grid, MixGrid):
        cells = MixCells(outcome, grid)
        return Report(
            outcome,
            ("mix.csv", "mix.json", "mix.html"),
            "mix.html",
            (*_MIX_COLUMNS, "seed", "set", *metrics, "seconds_train", "failure"),
            minutes=lambda row: 0.0,
            summary=mix_summary(cells),
            numbers={},
            content=lambda: mix_content(cells),
        )
    curves = LearningCurves(outcome, grid, cost, target)
    columns = ("start", "strategy", "seed", "cycle", "batch", "labels", "boxes", "minutes", "set", *metrics)
    return Report(
        outcome,
        ("results.csv", "results.json", "report.html"),
        "strategies.html",
        (*columns, "seconds_select", "seconds_train", "failure"),
        minutes=curves.minutes,
        summary=strategy_summary(curves),
        numbers={"starts": {start: strategy_numbers(curves, start) for start in outcome.spec.starts}},
        content=lambda: strategy_content(curves),
    )


def _metrics(outcome: Outcome) -> tuple[str, ...]:
    """Return the columns of metrics, those of masks if a run has them."""
    found = (metrics for row in outcome.rows if row.metrics for metrics in row.metrics.values())
    return (*_METRICS, *MASK_COLUMNS) if any("mask_ap" in metrics for metrics in found) else _METRICS


def write_report(report: Report, out: Path) -> list[Path]:
    """Write the files of a report and return their paths."""
    table, data, page = paths = [out / name for name in report.files]
    write_atomically(table, _csv(report).encode())
    runs = []
    for row in report.outcome.rows:
        record = asdict(row)
        runs.append({**record.pop("run"), **record})
    content = {"runs": runs, **report.numbers, "summary": report.summary}
    write_json(data, msgspec.to_builtins(content, str_keys=True))
    template = environment("benchmark/results", "report").get_template(report.template)
    html = template.render(
        spec=report.outcome.spec,
        datasets=report.outcome.datasets,
        failures=failure_lines(report.outcome.rows),
        retry=RETRY,
        rule=COUNT_RULES[report.outcome.spec.rule].text,
        written=now(),
        **report.content(),
    )
    write_page(page, html)
    return paths


def _csv(report: Report) -> str:
    """Return a line for each row and dataset."""
    text = io.StringIO()
    table = csv.DictWriter(text, report.columns, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for row in report.outcome.rows:
        values: dict[str, Any] = {**asdict(row.run), "failure": row.failure}
        if not row.failure:
            minutes = f"{report.minutes(row):.1f}"
            values |= {"labels": row.labels, "boxes": row.boxes, "minutes": minutes, **row.details}
        values |= {f"seconds_{name}": f"{seconds:.4g}" for name, seconds in row.seconds.items()}
        for name, metrics in (row.metrics or {"": {}}).items():
            numbers = {key: f"{metrics[key]:.6g}" for key in (*_METRICS, *MASK_COLUMNS) if key in metrics}
            table.writerow({**values, "set": name, **numbers})
    return text.getvalue()
