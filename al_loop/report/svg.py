"""Plots by Matplotlib as SVG elements of a page, in its colours, light and dark."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any

# Matplotlib needs colours; these stand for variables of the page.
INK, FAINT, AP = "#010101", "#020202", "#040404"
_COLOURS = {INK: "var(--muted)", FAINT: "var(--line)", AP: "var(--ap)"}


def draw(
    paint: Callable[[Any], None],
    size_in: tuple[float, float],
    name: str,
    colours: Mapping[str, str] | None = None,
    font_pt: float = 10.0,
) -> str:
    """Return as an SVG element what `paint` draws on the axes; the same drawing gives the same text.

    name: prefix of its ids, different for each plot of a page.
    colours: further colours of the plot -> variables of the page.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": font_pt}):
        figure = Figure(figsize=size_in, layout="constrained")
        paint(figure.add_subplot())
        buffer = StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    # As wide as the page allows, in its font.
    for side in ("width", "height"):
        svg = re.sub(rf'(<svg\b[^>]*?) {side}="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*|(font: (?:\w+ )?[\d.]+px) [^;\"]*", r"\1", svg)
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in {**_COLOURS, **(colours or {})}.items():
        svg = svg.replace(colour, variable)
    return svg.replace("<svg ", '<svg aria-hidden="true" ', 1)


def label_axes(axes: Any, x: str, y: str) -> None:
    """Label the axes; leave horizontal grid lines and no frame but the bottom."""
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(axis="y", color=FAINT, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
