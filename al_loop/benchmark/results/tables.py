"""Tables of both kinds of benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from al_loop.benchmark.results.statistics import Interval, over_seeds
from al_loop.benchmark.run.trial import Row

#: In place of a number that no seed has.
FAILED = "failed"
RETRY = (
    "--resume runs failed trials again with the same settings; "
    "for others, such as a lower lr, choose another --out"
)
#: Key of a metric -> its heading and format.
METRICS: Mapping[str, tuple[str, str]] = {
    "ap50": ("AP50", ".3f"),
    "precision": ("precision", ".3f"),
    "recall": ("recall", ".3f"),
    "right": ("right", ".1f"),
    "misclassified": ("misclassified", ".1f"),
    "missed": ("missed", ".1f"),
    "false": ("false", ".1f"),
    "images_right": ("images right", ".0%"),
}
METRIC_HEADINGS = ("AP", *(heading for heading, _ in METRICS.values()))


def metric_cells(rows: Sequence[Row[Any]], dataset: str, seeds: int) -> list[str]:
    """Return the cells below METRIC_HEADINGS: means over the rows, of one dataset."""
    metrics = [row.metrics[dataset] for row in rows if row.metrics and dataset in row.metrics]
    if not metrics:
        return [FAILED] * len(METRIC_HEADINGS)
    means = [format(float(np.mean([m[key] for m in metrics])), form) for key, (_, form) in METRICS.items()]
    return [mean_cell(over_seeds([m["ap"] for m in metrics]), seeds), *means]


def mean_cell(value: Interval | None, seeds: int) -> str:
    """Return mean ± standard error; the number of seeds, too, where some failed."""
    if value is None:
        return FAILED
    text = f"{value.mean:.3f}" + ("" if value.error is None else f" ± {value.error:.3f}")
    return text if value.seeds == seeds else f"{text} ({value.seeds} of {seeds} seeds)"


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table as lines with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table]


def failure_lines(rows: Sequence[Row[Any]]) -> list[str]:
    """Return which runs failed and why."""
    return [f"{row.run.name}: {row.failure}" for row in rows if row.failure]


def failure_summary(rows: Sequence[Row[Any]]) -> list[str]:
    """Return the same as lines of a summary, and what to do."""
    failures = failure_lines(rows)
    return [*(f"failed: {line}" for line in failures), *([RETRY] if failures else [])]
