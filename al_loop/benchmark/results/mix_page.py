"""What a mix study says: a table, a test of every cell, a heat map, and one HTML page."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from al_loop.benchmark.results.heatmap import draw_heat
from al_loop.benchmark.results.statistics import over_seeds
from al_loop.benchmark.results.tables import HOLE, MEND, mean_cell
from al_loop.benchmark.run.mix import REAL, RENDERED, Mix
from al_loop.core.files import write_atomically, write_json
from al_loop.report.write import environment
from al_loop.state.workspace import now

#: A one-sided test below this is called evidence.
LEVEL = 0.05
_COUNTS = ("right", "misclassified", "missed", "false")
_COLUMNS = (
    "way", "real", "synthetic", "seed", "set", "ap", "ap50", "ap75", "precision", "recall", *_COUNTS,
    "images_right", "seconds_train", "hole",
)  # fmt: skip
_HEAD = (
    "way", "photographs", "rendered", "AP", "AP50", "precision", "recall", "right", "misclassified", "missed", "false", "images right",
    "training, s", "more than photographs alone", "p, one-sided",
)  # fmt: skip
#: The numbers between AP and the test, as `_HEAD` calls them.
_FORMS: Mapping[str, str] = MappingProxyType(
    {"ap50": ".3f", "precision": ".3f", "recall": ".3f", **dict.fromkeys(_COUNTS, ".1f"), "images_right": ".0%",
     "seconds": ".0f"}
)  # fmt: skip


@dataclass(frozen=True)
class Tested:
    """A mixed cell against photographs alone. gain: mean difference in AP over the seeds of both; p: see `one_sided`."""

    gain: float
    p: float | None
    seeds: int


def one_sided(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """p of Student's paired test that ours are larger; None for one pair, which says nothing of chance.

    Source: the one-sided tests of Anderson et al. 2022, figure 2.
    """
    apart = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    if len(apart) < 2:
        return None
    if np.ptp(apart) == 0:  # no spread, no statistic
        return 0.0 if apart[0] > 0 else 1.0 if apart[0] < 0 else 0.5
    from scipy.stats import ttest_1samp

    return float(ttest_1samp(apart, 0.0, alternative="greater").pvalue)


class Mixed:
    """The cells of a study, by way and numbers of images."""

    def __init__(self, mix: Mix) -> None:
        """Take a study that is done."""
        self.mix = mix
        self._cells = {(c.way, c.real, c.synthetic, c.seed): c for c in mix.cells}

    def places(self) -> list[tuple[str, int, int]]:
        """Every (way, real, synthetic), holes too, single kinds first."""
        first = {REAL: 0, RENDERED: 1}
        found = {(c.way, c.real, c.synthetic) for c in self._cells.values()}
        return sorted(found, key=lambda at: (first.get(at[0], 2), at))

    def values(self, at: tuple[str, int, int], key: str, name: str = "validation") -> dict[int, float]:
        """Seed -> a number of one place on one set; "seconds" is the same on all."""
        found = {}
        for seed in range(self.mix.asked.seeds):
            cell = self._cells.get((*at, seed))
            if cell is not None and cell.judged is not None:
                found[seed] = (
                    float(cell.seconds or 0.0) if key == "seconds" else float(cell.judged[name][key])
                )
        return found

    def tested(self, at: tuple[str, int, int]) -> Tested | None:
        """A mixed place against photographs alone, as many; None where that was not asked."""
        way, real, _ = at
        ours, theirs = self.values(at, "ap"), self.values((REAL, real, 0), "ap")
        shared = sorted(ours.keys() & theirs.keys())
        if way in (REAL, RENDERED) or not shared:
            return None
        mine, their = [ours[s] for s in shared], [theirs[s] for s in shared]
        return Tested(float(np.mean(mine) - np.mean(their)), one_sided(mine, their), len(shared))

    def mean(self, at: tuple[str, int, int]) -> float | None:
        """Mean AP over the seeds of a place, photographs or rendered images alone standing in for their ways."""
        way, real, synthetic = at
        if not synthetic:
            way = REAL
        elif not real:
            way = RENDERED
        found = list(self.values((way, real, synthetic), "ap").values())
        return float(np.mean(found)) if found else None


def mix_table(mixed: Mixed, name: str = "validation") -> list[list[str]]:
    """A row for every place, means over the seeds that have it; a head first."""
    rows, seeds = [list(_HEAD)], mixed.mix.asked.seeds
    for at in mixed.places():
        way, real, synthetic = at
        found = list(mixed.values(at, "ap", name).values())
        cells = [mean_cell(over_seeds(found) if found else None, seeds)]
        for key, form in _FORMS.items():
            values = list(mixed.values(at, key, name).values())
            cells.append(format(float(np.mean(values)), form) if values else HOLE)
        tested = mixed.tested(at) if name == "validation" else None
        gain = f"{tested.gain:+.3f}" if tested else "–"
        p = "–" if tested is None or tested.p is None else _p(tested.p)
        rows.append([way, str(real), str(synthetic), *cells, gain, p])
    return rows


def mix_summary(mixed: Mixed) -> list[str]:
    """The results in lines of text."""
    rows = mix_table(mixed)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, "", *mix_words(mixed)]


def mix_words(mixed: Mixed) -> list[str]:
    """Each mixed place against photographs alone, in words."""
    lines = []
    for at in mixed.places():
        tested = mixed.tested(at)
        if tested is None:
            continue
        way, real, synthetic = at
        said = f"{real} photographs, {synthetic} rendered, {way}: {tested.gain:+.3f} AP over {real} photographs alone"
        if tested.p is None:
            said += " at one seed, which says nothing of chance; run more: --seeds 5 --resume"
        elif tested.p < LEVEL:
            said += f", more (one-sided p {_p(tested.p)}, {tested.seeds} seeds)"
        else:
            said += f": no evidence that it is more (one-sided p {_p(tested.p)}, {tested.seeds} seeds)"
        lines.append(said)
    holes = [c for c in mixed.mix.cells if c.hole]
    lines += [f"hole: {c.name.removeprefix('mix/')}: {c.hole}" for c in holes]
    return [*lines, MEND] if holes else lines


def write_mix(mixed: Mixed, out: Path) -> tuple[Path, Path, Path]:
    """Write mix.csv, a line for every cell and set, mix.json and mix.html."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for cell in mixed.mix.cells:
        for name, found in (cell.judged or {"": {}}).items():
            table.writerow(
                [
                    cell.way, cell.real, cell.synthetic, cell.seed, name,
                    *(f"{found[key]:.6g}" if key in found else "" for key in _COLUMNS[5:-2]),
                    "" if cell.seconds is None else f"{cell.seconds:.1f}", cell.hole,
                ]
            )  # fmt: skip
    paths = out / "mix.csv", out / "mix.json", out / "mix.html"
    write_atomically(paths[0], text.getvalue().encode())
    write_json(paths[1], {"cells": [asdict(cell) for cell in mixed.mix.cells], "summary": mix_summary(mixed)})
    write_atomically(paths[2], _page(mixed).encode())
    return paths


def _page(mixed: Mixed) -> str:
    asked, sets = mixed.mix.asked, mixed.mix.sets
    grids: list[tuple[str, Any]] = [
        (way, [[mixed.mean((way, real, synthetic)) for synthetic in asked.synthetic] for real in asked.real])
        for way in asked.ways
    ]
    found = [value for _, grid in grids for row in grid for value in row if value is not None]
    marks = [
        (way, [[_mark(mixed.tested((way, real, s))) for s in asked.synthetic] for real in asked.real])
        for way in asked.ways
    ]
    svg = {
        way: draw_heat(grid, mark, asked.real, asked.synthetic, (min(found), max(found)), f"h{number}")
        for number, ((way, grid), (_, mark)) in enumerate(zip(grids, marks, strict=True))
        if found
    }
    page = environment("benchmark/results", "report").get_template("mix.html")
    return page.render(
        asked=asked,
        sets=sets,
        rendered=len(mixed.mix.rendered),
        heat=svg,
        table=mix_table(mixed),
        tests={name: mix_table(mixed, name) for name in sets.tests},
        words=mix_words(mixed),
        holes=[c for c in mixed.mix.cells if c.hole],
        mend=MEND,
        written=now(),
    )


def _mark(tested: Tested | None) -> bool:
    return tested is not None and tested.p is not None and tested.p < LEVEL


def _p(value: float) -> str:
    return "< 0.001" if value < 0.0005 else f"= {value:.3f}"
