"""The results of a benchmark as rows, and in words."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

from al_loop.benchmark.results.label_efficiency import savings, savings_plain, savings_words
from al_loop.benchmark.results.statistics import Interval, over_seeds, paired, verdict
from al_loop.benchmark.results.summary import Results, ap, place
from al_loop.benchmark.run.trials import Row
from al_loop.core.files import write_atomically, write_json

#: Strategies that every other is held against.
REFERENCES = ("random", "dbal")
#: In place of a number that no seed has.
HOLE = "hole"
#: What to do about holes.
MEND = "--resume tries holes again as they are; with other settings, as a lower lr, begin anew: another --out"
_JUDGED = (
    "ap", "ap50", "ap75", "precision", "recall", "right", "misclassified", "missed", "false", "images_right",
)  # fmt: skip
_COLUMNS = (
    "start", "strategy", "seed", "cycle", "batch", "labels", "boxes", "minutes", "set", *_JUDGED,
    "seconds_select", "seconds_train", "hole",
)  # fmt: skip


def summary(results: Results) -> list[str]:
    """The results in lines of text."""
    asked, lines = results.outcome.asked, list[str]()
    for start in asked.starts:
        lines += ["", f"start: {start}"]
        lines += _table(results, start)
        lines += [f"  {line}" for line in (*differences(results, start), *savings_words(results, start))]
    lines += ["", f"annotator minutes: {results.pace}"]
    if asked.seeds == 1 and not any(_apart(results, start) for start in asked.starts):
        lines.append("one seed: nothing here says what is chance; run more: --seeds 5 --resume")
    holes = [row for row in results.rows if row.hole]
    lines += [f"hole: {r.start}/{r.strategy}/seed-{r.seed}, cycle {r.cycle}: {r.hole}" for r in holes]
    return [*lines, MEND] if holes else lines


def write_files(results: Results, out: Path) -> tuple[Path, Path]:
    """Write results.csv, a line for every point and set, and results.json with the picks and what they say."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for row in results.rows:
        cost = ("", "", "") if row.hole else (row.labels, row.boxes, f"{results.minutes(row):.1f}")
        for name, judged in (row.judged or {"": {}}).items():
            seconds = row.seconds or {}
            table.writerow(
                [
                    row.start, row.strategy, row.seed, row.cycle, row.batch,
                    *cost, name,
                    *(f"{judged[key]:.6g}" if key in judged else "" for key in _JUDGED),
                    *(f"{seconds[key]:.1f}" if key in seconds else "" for key in ("select", "train")),
                    row.hole,
                ]
            )  # fmt: skip
    data, plain = out / "results.csv", out / "results.json"
    write_atomically(data, text.getvalue().encode())
    starts = {start: numbers(results, start) for start in results.outcome.asked.starts}
    points = [_plain(row) for row in results.rows]
    write_json(plain, {"points": points, "starts": starts, "summary": summary(results)})
    return data, plain


def _table(results: Results, start: str) -> list[str]:
    """Mean AP ± standard error of every strategy at every point, and the area under its curve."""
    rows = table(results, start)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def table(results: Results, start: str) -> list[list[str]]:
    """Cells of that table, the head first; each is over the seeds that got so far, and says how many where some did not."""
    heads, seeds = results.heads(start), len(results.seeds)
    rows = [["strategy", *heads.values(), "area"]]
    for strategy in results.strategies:
        values = {point.place: point.ap for point in results.points(start, strategy, "labels")}
        areas = list(results.areas(start, strategy).values())
        means = [*(values.get(at) for at in heads), over_seeds(areas) if areas else None]
        rows.append([strategy, *(mean_cell(value, seeds) for value in means)])
    return rows


def every_seed(results: Results, start: str) -> list[list[str]]:
    """AP of every chain at every point, a row for each strategy and seed, and its area; the head first."""
    heads = results.heads(start)
    rows = [["strategy", "seed", *heads.values(), "area"]]
    for strategy in results.strategies:
        areas = results.areas(start, strategy)
        for seed in results.seeds:
            values = {place(row): ap(row) for row in results.chain(start, strategy, seed)}
            numbers = [*(values.get(at) for at in heads), areas.get(seed)]
            cells = [HOLE if number is None else f"{number:.3f}" for number in numbers]
            rows.append([strategy, str(seed), *cells])
    return rows


def differences(results: Results, start: str) -> list[str]:
    """Each strategy against the references, in words."""
    return ["area, " + verdict(*names, apart) for names, apart in _apart(results, start).items()]


def numbers(results: Results, start: str) -> dict[str, Any]:
    """Areas, differences and savings of a start as plain data: what the text rounds."""
    areas = {strategy: results.areas(start, strategy) for strategy in results.strategies}
    return {
        "areas": {
            strategy: {
                "by_seed": {str(seed): value for seed, value in found.items()},
                **(asdict(over_seeds(list(found.values()))) if found else {}),
            }
            for strategy, found in areas.items()
        },
        "differences": [
            {"strategy": ours, "reference": theirs, **asdict(apart)}
            for (ours, theirs), apart in _apart(results, start).items()
        ],
        "savings": savings_plain(savings(results, start)),
    }


def _apart(results: Results, start: str) -> dict[tuple[str, str], Interval]:
    """(strategy, reference) -> difference in area by seed, each pair once."""
    found: dict[tuple[str, str], Interval] = {}
    for reference in REFERENCES:
        theirs = results.areas(start, reference) if reference in results.strategies else {}
        for strategy in results.strategies:
            ours = results.areas(start, strategy)
            if strategy != reference and (reference, strategy) not in found and ours.keys() & theirs.keys():
                found[strategy, reference] = paired(ours, theirs)
    return found


def mean_cell(value: Interval | None, seeds: int) -> str:
    """Mean ± standard error; of fewer than all seeds, with how many they are."""
    if value is None:
        return HOLE
    said = f"{value.mean:.3f}" + ("" if value.error is None else f" ± {value.error:.3f}")
    return said if value.seeds == seeds else f"{said} ({value.seeds} of {seeds} seeds)"


def _plain(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}
