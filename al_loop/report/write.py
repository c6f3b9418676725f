"""Puts a report's data, pictures and curve into one HTML file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from al_loop.core.errors import DataError
from al_loop.core.files import write_atomically
from al_loop.report.curve import curve_of, draw_curve
from al_loop.report.drift import draw_drift
from al_loop.report.gallery import CYCLES_WITH_PICTURES, build_galleries
from al_loop.report.gather import gather
from al_loop.report.pictures import stored_thumbnail
from al_loop.state.workspace import Workspace

if TYPE_CHECKING:
    from jinja2 import Environment

# What a pick's state means to a reader, and whether it is settled, refused or still open (its colour).
STATES: Mapping[str, tuple[str, str]] = {
    "labelled": ("labelled", "good"),
    "empty": ("empty: nothing to find", "good"),
    "known": ("labelled before", "good"),
    "skipped": ("skipped", "off"),
    "deleted": ("task deleted", "off"),
    "refused": ("not usable as labelled", "bad"),
    "draft": ("begun but not submitted", "wait"),
    "pending": ("waiting for people", "wait"),
    "selected": ("chosen, not sent yet", "wait"),
}
_WIDE_IN, _NARROW_IN = (7.4, 3.4), (4.0, 3.0)  # the plot on a desk and on a phone


def write_report(workspace: Workspace, path: Path) -> Path:
    """Write the report of a workspace and return its path; whatever is missing, the report says so.

    Raises DataError where the file cannot be written.
    """
    report = gather(workspace)
    curve = curve_of(report)
    page = environment("report").get_template("template.html")
    html = page.render(
        report=report,
        galleries=build_galleries(workspace, report.cycles),
        cycles_with_pictures=CYCLES_WITH_PICTURES,
        curve_wide=draw_curve(curve, *_WIDE_IN, name="wide") if curve else None,
        curve_narrow=draw_curve(curve, *_NARROW_IN, name="narrow") if curve else None,
        drift_wide=draw_drift(report.watch, *_WIDE_IN, name="drift-wide") if report.watch.windows else None,
        drift_narrow=draw_drift(report.watch, *_NARROW_IN, name="drift-narrow")
        if report.watch.windows
        else None,
        strangest=[
            {"name": name, "picture": stored_thumbnail(image)} for image, name in report.watch.strangest
        ],
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, html.encode())
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror}). Choose another: al-loop report --out FILE"
        ) from None
    return path


def report_json(workspace: Workspace) -> str:
    """Return what the report says for machines, without pictures: the fields of `al_loop.report.data.Report`."""
    return msgspec.json.encode(gather(workspace), enc_hook=_plain).decode()


def _plain(value: Any) -> Any:
    """What JSON has no word for: paths."""
    return str(value)


def environment(*folders: str) -> Environment:
    """Templates of packages of al_loop, with the filters of a page."""
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
        "when": _when,
        "plural": _plural,
        "px": _px,
        "state_words": lambda state: STATES.get(state, (state, "wait"))[0],
        "state_kind": lambda state: STATES.get(state, (state, "wait"))[1],
    }
    return made


def _ap(value: float | None) -> str:
    """Return an AP with three digits."""
    if value is None:
        return "–"
    return f"{value:.3f}" if math.isfinite(value) else "not a number"


def _change(value: float | None) -> str:
    """Return a difference of two APs with its sign."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:+.3f}".replace("-", "−") if round(value, 3) else "±0.000"


def _when(text: Any) -> str:
    """Return a stored time as a reader writes it, in UTC; the text as it is when it is no time."""
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return str(text)


def _plural(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}".replace(",", "\u202f")


def _px(value: float) -> str:
    """Return a coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")
