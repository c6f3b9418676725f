"""AP by numbers of photographs and of rendered images as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from al_loop.report.svg import FAINT, INK, draw


def draw_heatmap(
    values: Sequence[Sequence[float | None]],
    marked: Sequence[Sequence[bool]],
    real: Sequence[int],
    synthetic: Sequence[int],
    span: tuple[float, float],
    name: str,
) -> str:
    """Return a heat map as an SVG element.

    values: AP; rows by photographs, the fewest at the bottom, columns by rendered images.
    marked: cells that get a star.
    real, synthetic: numbers of images.
    span: AP of the darkest and the brightest colour, the same for all maps of a page.
    name: see `draw`.
    """
    numbers = np.array(values, dtype=np.float64)  # nan for None, which is drawn without a colour

    def paint(axes: Any) -> None:
        high = max(span[1], span[0] + 1e-9)
        mesh = axes.pcolormesh(numbers, cmap="cividis", vmin=span[0], vmax=high, ec=FAINT, lw=1)
        for (row, column), value in np.ndenumerate(numbers):
            text, colour = "–", INK
            if not np.isnan(value):
                # Black on bright colours: luminance by ITU-R BT.709.
                luminance = mesh.to_rgba(np.array([value]))[0, :3] @ (0.2126, 0.7152, 0.0722)
                text = f"{value:.3f}" + (" *" if marked[row][column] else "")
                colour = "black" if luminance > 0.45 else "white"
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour)
        axes.set_xticks(np.arange(len(synthetic)) + 0.5, [str(n) for n in synthetic])
        axes.set_yticks(np.arange(len(real)) + 0.5, [str(n) for n in real])
        axes.set_xlabel("rendered images", color=INK)
        axes.set_ylabel("photographs", color=INK)
        axes.tick_params(colors=INK, length=0)
        for side in axes.spines.values():
            side.set_visible(False)

    return draw(paint, (1.6 + 1.15 * len(synthetic), 1.1 + 0.55 * len(real)), name, font_pt=11.0)
