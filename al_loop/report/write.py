"""Render a report as one HTML file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from al_loop.core.errors import DataError
from al_loop.core.files import write_atomically
from al_loop.evaluation.detection_counts import CountRuleName
from al_loop.report.curve import curve_of, draw_curve
from al_loop.report.drift import draw_drift
from al_loop.report.gallery import CYCLES_WITH_PICTURES, build_galleries
from al_loop.report.gather import gather
from al_loop.report.pictures import stored_thumbnail
from al_loop.report.precision_recall import set_plots
from al_loop.state.database.model_table import Evaluation
from al_loop.state.workspace import Workspace
from al_loop.structures.metrics import MetricName

if TYPE_CHECKING:
    from jinja2 import Environment

#: State of a pick -> its text, and its colour: done, off, wrong or waiting.
STATES: Mapping[str, tuple[str, str]] = {
    "labelled": ("labelled", "good"),
    "empty": ("empty: no objects", "good"),
    "known": ("labelled before", "good"),
    "skipped": ("skipped", "off"),
    "deleted": ("task deleted", "off"),
    "refused": ("not usable as labelled", "bad"),
    "draft": ("started but not submitted", "wait"),
    "pending": ("waiting for people", "wait"),
    "selected": ("selected, not sent yet", "wait"),
}
_SIZES_IN = {"wide": (7.4, 3.4), "narrow": (4.0, 3.0)}  # plots on wide and narrow screens


def write_report(workspace: Workspace, path: Path, rule: CountRuleName = "iou") -> Path:
    """Write the report of a workspace and return its path. Raises DataError where it cannot be written.

    rule: how boxes are counted.
    """
    report = gather(workspace, rule)
    curve, monitor = curve_of(report), report.monitor
    html = (
        environment("report")
        .get_template("template.html")
        .render(
            report=report,
            galleries=build_galleries(workspace, report.cycles),
            cycles_with_pictures=CYCLES_WITH_PICTURES,
            set_plots={
                each.set_name: set_plots({each.model_id: each.found}, f"precision-{number}")
                for number, each in enumerate(report.curves)
            },
            curves={name: draw_curve(curve, size, name) for name, size in _SIZES_IN.items() if curve},
            drifts={
                name: draw_drift(monitor, size, f"drift-{name}")
                for name, size in _SIZES_IN.items()
                if monitor.windows
            },
            most_drifted=[
                {"name": name, "picture": stored_thumbnail(image)} for image, name in monitor.most_drifted
            ],
        )
    )
    return write_page(path, html)


def write_page(path: Path, html: str) -> Path:
    """Write a page and return its path; DataError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, html.encode())
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}). Name another: --out FILE") from None
    return path


def report_json(workspace: Workspace, rule: CountRuleName = "iou") -> str:
    """Return the report as JSON without pictures: the fields of `al_loop.report.data.Report`."""
    return msgspec.json.encode(gather(workspace, rule), enc_hook=str).decode()


def environment(*folders: str) -> Environment:
    """Return the templates of folders of al_loop, with the filters of a page."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=ChoiceLoader([PackageLoader("al_loop", f"{folder}/templates") for folder in folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "ap": _ap,
        "change": _change,
        "metric": _metric,
        "upper_first": lambda text: f"{text[:1].upper()}{text[1:]}",
        "when": _when,
        "plural": _plural,
        "px": lambda value: f"{value:.1f}".removesuffix(".0"),
        "state_words": lambda state: STATES.get(state, (state, "wait"))[0],
        "state_kind": lambda state: STATES.get(state, (state, "wait"))[1],
    }
    return made


def _ap(value: float | None) -> str:
    """Return an AP with three digits."""
    if value is None:
        return "–"
    return f"{value:.3f}" if math.isfinite(value) else "not a number"


def _metric(evaluation: Evaluation | None, name: MetricName, field: str) -> float | None:
    """Return a field of the metrics of boxes or masks. None if there are none."""
    metrics = evaluation.metrics.of(name) if evaluation else None
    return getattr(metrics, field) if metrics else None


def _change(value: float | None) -> str:
    """Return a difference of two APs with its sign."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:+.3f}".replace("-", "−") if round(value, 3) else "±0.000"


def _when(text: Any) -> str:
    """Return a stored time in UTC; what is no time stays as it is."""
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return str(text)


def _plural(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}".replace(",", "\u202f")
