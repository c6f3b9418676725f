"""Numbers of images on the axes of a benchmark, as far as the sets have images for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from al_loop.benchmark.spec.spec import MixGrid
from al_loop.core.console import Reporter
from al_loop.core.errors import ConfigError
from al_loop.structures.images import LabelledImage


def image_counts(option: str, texts: tuple[str, ...], total: int, reporter: Reporter) -> list[int]:
    """Return distinct numbers of images, ascending, from numbers and shares of all, as in "25" and "25%".

    Numbers above the total are clipped and reported. Raises ConfigError for other texts.
    """
    counts = _counts(option, texts, total, reporter)
    if not any(counts):
        raise ConfigError(f"{option}: expected a number of images above 0, got {', '.join(texts) or 'none'}")
    return counts


def clipped_mix(
    grid: MixGrid, pool: Sequence[LabelledImage], rendered: Sequence[LabelledImage], reporter: Reporter
) -> MixGrid:
    """Return the grid with numbers of images in place of texts. Report numbers that were reduced.

    Raises ConfigError if the sets have too few images for a total, or none without boxes.
    """
    real, healthy = divided(pool, apart=bool(grid.healthy))
    synthetic, healthy_synthetic = divided(rendered, apart=bool(grid.healthy_synthetic))
    if grid.total is None:
        reals = image_counts("--real", grid.real, len(real), reporter)
        synthetics = image_counts("--synthetic", grid.synthetic, len(synthetic), reporter)
    else:
        reals = []
        synthetics = _counts("--synthetic", grid.synthetic, grid.total, reporter)
        _check_total(grid.total, synthetics, len(real), len(synthetic))
    return replace(
        grid,
        real=_texts(reals),
        synthetic=_texts(synthetics),
        healthy=_texts(_healthy_counts("--healthy", grid.healthy, len(healthy), reporter)),
        healthy_synthetic=_texts(
            _healthy_counts("--healthy-synthetic", grid.healthy_synthetic, len(healthy_synthetic), reporter)
        ),
    )


def divided(
    images: Sequence[LabelledImage], *, apart: bool
) -> tuple[Sequence[LabelledImage], Sequence[LabelledImage]]:
    """Return the images with objects, and the healthy ones: without boxes and ignore regions.

    apart: False to leave all together, as the first.
    """
    if not apart:
        return images, []
    healthy = {item.image.id for item in images if not len(item.boxes) + len(item.ignored)}
    return (
        [item for item in images if item.image.id not in healthy],
        [item for item in images if item.image.id in healthy],
    )


def _counts(option: str, texts: tuple[str, ...], total: int, reporter: Reporter) -> list[int]:
    counts = set()
    for text in texts:
        match = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)%", text)
        if match is None or float(match[2] or 0) > 100:
            raise ConfigError(
                f"{option} {text}: expected numbers of images, or shares of all, as in 0,25,100 or 0,25%,100%"
            )
        count = int(match[1]) if match[1] else round(total * float(match[2]) / 100)
        if count > total:
            reporter.line(f"{option} {text}: there are {total} images, all are taken")
        counts.add(min(count, total))
    return sorted(counts)


def _healthy_counts(option: str, texts: tuple[str, ...], total: int, reporter: Reporter) -> list[int]:
    if not total and set(texts) - {"0", "0%"}:
        raise ConfigError(
            f"{option} {','.join(texts)}: expected images without boxes in the sets to train on, got none. "
            f"Add some, or use {option} 0"
        )
    return _counts(option, texts, total, reporter)


def _check_total(total: int, synthetics: Sequence[int], real: int, rendered: int) -> None:
    if not synthetics:
        raise ConfigError("--synthetic: expected numbers of rendered images, or shares of --total, got none")
    if synthetics[-1] > rendered or total - synthetics[0] > real:
        raise ConfigError(
            f"--total {total} with --synthetic {synthetics[0]} to {synthetics[-1]}: expected at most {real} "
            f"photographs and {rendered} rendered images in a cell, got {total - synthetics[0]} and "
            f"{synthetics[-1]}. Use a smaller --total, other shares, or more images"
        )


def _texts(counts: Sequence[int]) -> tuple[str, ...]:
    return tuple(map(str, counts))
