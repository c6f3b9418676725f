"""Compares a rendered set with photographs: statistics of both, and the largest differences."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ks_2samp, wasserstein_distance

from render.coco import listed, read_coco
from render.core.errors import DatasetError
from render.core.files import write_atomically
from render.inspect.measures import (
    MEANING,
    Array,
    Gap,
    Measures,
    Report,
    common_side,
    ks_noise,
    measure,
    total_variation,
    variation_noise,
)

#: Measures that are compared by ratio instead of by difference.
_RATIOS = ("size", "aspect", "boxes per image", "sharpness")
#: Classes with fewer boxes than this are not compared separately.
_ENOUGH_BOXES = 10


def compare(
    dataset: Path, against: Path | None = None, *, on_warning: Callable[[str], None] | None = None
) -> Report:
    """Measure a dataset folder or COCO file; with `against`, also its distance to that COCO file.

    on_warning: called with the entries that could not be read.

    Raises DatasetError if a file cannot be read or has no boxes.
    """
    paths = [path for path in (dataset, against) if path is not None]
    sets = [read_coco(path) for path in paths]
    problems = [listed(data.problems, path.name) for data, path in zip(sets, paths, strict=True)]
    for data, path in zip(sets, paths, strict=True):
        if not len(data.bbox):
            raise DatasetError(
                f"{''.join(problems)}{path}: expected boxes to measure, got none; "
                "render more images, or label some"
            )
    for text in filter(None, problems):
        if on_warning is not None:
            on_warning(text)
    side = common_side(sets)
    measured = [measure(data, side) for data in sets]
    if len(measured) == 1:
        return Report(measured[0], None, (), (), side)
    a, b = measured
    gaps = [_gap(name, a.values[name], b.values[name]) for name in a.values if name in b.values]
    return Report(a, b, _sorted([*gaps, _share_gap(a, b)]), _size_gaps(a, b), side)


def table(report: Report) -> str:
    """Format a report as text: one line per measure, the largest gap first, then what the gaps mean."""
    both = [measures for measures in (report.rendered, report.real) if measures is not None]
    sets = [f"{m.name}: {m.pictures} images, {m.boxes} boxes, {m.empty} images empty" for m in both]
    unread = [
        f"{m.name}: {m.unread} of the sampled images are missing or cannot be read; "
        "brightness and colour are of the other images"
        for m in both
        if m.unread
    ]
    if report.real is None:
        rows = [(name, _spread(values), *MEANING[name]) for name, values in report.rendered.values.items()]
        shares = ", ".join(f"{name} {share:.0%}" for name, share in report.rendered.shares.items())
        lines = [
            _columns(("measure", "median (5–95 %)", "unit", "moved by"), rows),
            f"class shares: {shares}",
        ]
        return "\n".join([*lines, *sets, *unread])
    gaps = [
        (g.measure, *(_spread(m.values.get(g.measure)) for m in both), _bracketed(g), _number(g.wasserstein))
        for g in report.gaps
    ]
    lines = [
        _columns(("measure", "rendered (5–95 %)", "real (5–95 %)", "distance", "shift"), gaps),
        "distance: 0 same, 1 nothing in common; in brackets: within chance",
    ]
    if report.size_gaps:
        sizes = [(g.measure, _bracketed(g), g.says) for g in report.size_gaps]
        lines += ["", _columns(("size by class", "distance", ""), sizes)]
    return "\n".join([*lines, "", *sets, *_largest_gaps_in_words(report), *unread])


def _bracketed(gap: Gap) -> str:
    return f"{gap.distance:.2f}" if gap.real else f"({gap.distance:.2f})"


def write_report(report: Report, out: Path) -> tuple[Path, Path]:
    """Write stats.json and stats.png into a folder; raise DatasetError if it cannot be written."""
    from render.inspect.charts import draw_report  # matplotlib takes a second to import

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"{out}: cannot be written ({error}); name another folder: --out DIR") from error
    data, chart = out / "stats.json", out / "stats.png"
    write_atomically(
        data, json.dumps(as_json(report), indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace")
    )
    write_atomically(chart, draw_report(report))
    return data, chart


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as plain data."""
    result: dict[str, Any] = {"side_px": report.side_px, "rendered": _summary(report.rendered)}
    if report.real is not None:
        result["real"] = _summary(report.real)
        for name in ("gaps", "size_gaps"):
            result[name] = [{**asdict(gap), "beyond_chance": gap.real} for gap in getattr(report, name)]
    return result


def _summary(measures: Measures) -> dict[str, Any]:
    return {
        **{name: getattr(measures, name) for name in ("name", "pictures", "boxes", "empty", "unread")},
        "measures": {name: _quantiles(values) for name, values in measures.values.items()},
        "shares": dict(measures.shares),
        "size_by_category": {name: _quantiles(sizes) for name, sizes in measures.size_by_category.items()},
    }


def _quantiles(values: Array) -> dict[str, float]:
    quantiles = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95)).tolist()
    named = dict(zip(("p05", "p25", "median", "p75", "p95"), quantiles, strict=True))
    return {"n": len(values), "mean": float(values.mean()), **named}


def _gap(name: str, a: Array, b: Array, kind: str = "") -> Gap:
    distance = float(ks_2samp(a, b, method="asymp").statistic)
    shift = float(wasserstein_distance(a, b))
    return Gap(name, distance, ks_noise(len(a), len(b)), shift, _describe_difference(kind or name, a, b))


def _share_gap(a: Measures, b: Measures) -> Gap:
    distance = total_variation(a.shares, b.shares)
    noise = variation_noise(a.shares, a.boxes, b.shares, b.boxes, np.random.default_rng(0))
    difference = {name: a.shares.get(name, 0.0) - b.shares.get(name, 0.0) for name in {*a.shares, *b.shares}}
    most = max(sorted(difference), key=lambda name: abs(difference[name]))
    rendered, real = a.shares.get(most, 0.0), b.shares.get(most, 0.0)
    says = f"{most} is {rendered:.0%} of the rendered boxes, {real:.0%} of the real"
    return Gap("class shares", distance, noise, distance, says)


def _size_gaps(a: Measures, b: Measures) -> tuple[Gap, ...]:
    """Return the gaps in size per class, if both sets have enough boxes of at least two classes."""
    enough = [
        name
        for name, sizes in a.size_by_category.items()
        if min(len(sizes), len(b.size_by_category.get(name, ()))) >= _ENOUGH_BOXES
    ]
    if len(enough) < 2:
        return ()
    return _sorted([_gap(n, a.size_by_category[n], b.size_by_category[n], "size") for n in enough])


def _sorted(gaps: list[Gap]) -> tuple[Gap, ...]:
    return tuple(sorted(gaps, key=lambda gap: (-gap.distance, gap.measure)))


def _describe_difference(name: str, a: Array, b: Array) -> str:
    """Describe in one phrase how rendered values differ from real ones: by level, else by spread."""
    rendered, real = float(np.median(a)), float(np.median(b))
    spread = float(np.subtract(*np.quantile(b, (0.75, 0.25))))
    rendered_spread = float(np.subtract(*np.quantile(a, (0.75, 0.25))))
    medians = f"median {_number(rendered)} against {_number(real)}"
    if abs(rendered - real) <= 0.25 * max(spread, rendered_spread):
        if min(spread, rendered_spread) <= 1e-9 * max(spread, rendered_spread, 1e-9):
            who = (
                "neither varies"
                if spread == rendered_spread
                else f"only the {'rendered' if rendered_spread else 'real'} vary"
            )
            return f"alike in level, {who}: {medians}"
        if 0.8 < rendered_spread / spread < 1.25:
            return f"alike in level and spread: {medians}"
        wider = "wider" if rendered_spread > spread else "narrower"
        ratio = rendered_spread / spread
        return f"alike in level, but {wider}: middle half {ratio:.2g} times as wide as the real ({medians})"
    if name in _RATIOS and real > 0:
        return f"rendered {rendered / real:.2g} times the real: {medians}"
    return (
        f"rendered {'higher' if rendered > real else 'lower'} by {_number(abs(rendered - real))}: {medians}"
    )


def _largest_gaps_in_words(report: Report) -> list[str]:
    """Return a sentence on each of the three largest gaps beyond chance, with the keys that change it."""
    gaps = [gap for gap in report.gaps if gap.real][:3]
    if not gaps:
        return ["Nothing differs by more than chance."]
    head = ("Differs most", "Then", "Then")
    return [
        f"{start}: {gap.measure}. {gap.says[0].upper()}{gap.says[1:]}. Moved by {MEANING[gap.measure][1]}."
        for start, gap in zip(head, gaps, strict=False)
    ]


def _spread(values: Array | None) -> str:
    if values is None:
        return ""
    low, median, high = np.quantile(values, (0.05, 0.5, 0.95)).tolist()
    return f"{_number(median)} ({_number(low)}–{_number(high)})"


def _number(value: float) -> str:
    """Format a number with three significant digits, without exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.4f}"


def _columns(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in [head, *rows])
    return "\n".join(line.rstrip() for line in lines)
