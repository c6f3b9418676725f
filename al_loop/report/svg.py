"""Plots by Matplotlib as elements of a page: in its colours, light and dark, and as wide as it allows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Matplotlib wants colours of its own; these stand for the page's, which change between light and dark.
INK, FAINT, AP = "#010101", "#020202", "#040404"
COLOURS: Mapping[str, str] = {INK: "var(--muted)", FAINT: "var(--line)", AP: "var(--ap)"}


def bare_axes(axes: Any, ink: str, faint: str) -> None:
    """Horizontal lines, labels in `ink`, and no frame but the bottom."""
    axes.grid(axis="y", color=faint, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(colors=ink, length=0)
    axes.xaxis.label.set_color(ink)
    axes.yaxis.label.set_color(ink)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(faint)


def for_page(svg: str, name: str, variables: Mapping[str, str]) -> str:
    """Return the element alone, with ids of its own, as wide as the page allows.

    name: what sets its ids apart from another plot's.  variables: colour in the plot -> the page's colour.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*|(font: (?:\w+ )?[\d.]+px) [^;\"]*", r"\1", svg)
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in variables.items():
        svg = svg.replace(colour, variable)
    return svg.replace("<svg ", '<svg aria-hidden="true" ', 1)
