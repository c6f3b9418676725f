"""AP by numbers of photographs and of rendered images as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

from al_loop.report.svg import for_page

_INK, _FAINT = "#010101", "#020202"


def draw_heatmap(
    values: Sequence[Sequence[float | None]],
    marked: Sequence[Sequence[bool]],
    real: Sequence[int],
    synthetic: Sequence[int],
    span: tuple[float, float],
    name: str,
) -> str:
    """Return a heat map as an element of a page.

    values: AP; rows by photographs, the fewest at the bottom, columns by rendered images.
    marked: cells that get a star.
    real, synthetic: numbers of images.
    span: AP of the darkest and the brightest colour, the same for all maps of a page.
    name: distinguishes its ids from those of other plots.
    """
    import matplotlib
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 11.0}):
        figure = Figure(figsize=(1.6 + 1.15 * len(synthetic), 1.1 + 0.55 * len(real)), layout="constrained")
        axes = figure.add_subplot()
        colours, scale = matplotlib.colormaps["cividis"], Normalize(span[0], max(span[1], span[0] + 1e-9))
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                if value is None:
                    axes.text(column, row, "–", ha="center", va="center", color=_INK)
                    continue
                shade = colours(scale(value))
                axes.add_patch(
                    matplotlib.patches.Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, color=shade, lw=0)
                )
                # Black on bright colours: luminance by ITU-R BT.709.
                bright = 0.2126 * shade[0] + 0.7152 * shade[1] + 0.0722 * shade[2] > 0.45
                text = f"{value:.3f}" + (" *" if marked[row][column] else "")
                axes.text(column, row, text, ha="center", va="center", color="black" if bright else "white")
        axes.set_xlim(-0.5, len(synthetic) - 0.5)
        axes.set_ylim(-0.5, len(real) - 0.5)
        axes.set_xticks(range(len(synthetic)), [str(n) for n in synthetic])
        axes.set_yticks(range(len(real)), [str(n) for n in real])
        axes.set_xlabel("rendered images", color=_INK)
        axes.set_ylabel("photographs", color=_INK)
        axes.tick_params(colors=_INK, length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        buffer = StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return for_page(buffer.getvalue(), name, {_INK: "var(--muted)", _FAINT: "var(--line)"})
