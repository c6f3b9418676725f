"""Schedule of flaws: which kinds each scene gets. Shares are exact for any number of scenes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from operator import add

import msgspec
import numpy as np
from numpy.random import Generator, SeedSequence

from render.recipe.distributions import draw_int
from render.recipe.tables import Defects, Recipe

#: Random streams of the schedules of defects and of look-alikes, independent of the streams of the scenes.
_STREAM, _HARMLESS_STREAM = 0xDEFEC7, 0xA11CE


def schedule_defects(recipe: Recipe, seed: int, scene: int) -> tuple[int, ...]:
    """Return indices into `recipe.defects.kinds` for one scene: its defects, then its look-alikes.

    Over the first n scenes, for any n, the count of every kind differs from its share by at most one flaw, or
    with `mixed` off by at most one scene's flaws. The count of clean scenes differs by at most one.
    """
    return _schedule(msgspec.json.encode(recipe.defects, order="sorted"), seed).scene(scene)


@lru_cache(maxsize=8)
def _schedule(defects: bytes, seed: int) -> _Schedule:
    return _Schedule(msgspec.json.decode(defects, type=Defects), seed)


class _Schedule:
    """The scenes scheduled so far. Each depends on the scenes before it, so all are stored."""

    def __init__(self, defects: Defects, seed: int) -> None:
        self._scenes: list[tuple[int, ...]] = []
        harmless = msgspec.structs.replace(
            defects,
            clean=0.0,
            per_scene=defects.harmless,
            kinds=tuple(msgspec.structs.replace(kind, label=not kind.label) for kind in defects.kinds),
        )
        self._upcoming = map(
            add,
            _scene_defects(defects, np.random.default_rng(SeedSequence([seed, _STREAM]))),
            _scene_defects(harmless, np.random.default_rng(SeedSequence([seed, _HARMLESS_STREAM]))),
        )

    def scene(self, number: int) -> tuple[int, ...]:
        self._scenes += islice(self._upcoming, max(0, number + 1 - len(self._scenes)))
        return self._scenes[number]


def _scene_defects(defects: Defects, rng: Generator) -> Iterator[tuple[int, ...]]:
    """Yield the labelled kinds of each scene: none at even intervals, else those furthest behind."""
    indices = [number for number, kind in enumerate(defects.kinds) if kind.label]
    shares = np.array([defects.kinds[number].weight for number in indices])
    shares = shares / shares.sum() if len(shares) else shares
    backlog = np.zeros(len(shares))
    due = rng.uniform()  # a clean scene is due at 1; a random start makes the expected share exact
    while True:
        due += defects.clean
        clean = due >= 1 or not len(shares)
        due -= 1 if due >= 1 else 0
        count = 0 if clean else draw_int(defects.per_scene, rng)
        chosen: list[int] = []
        while len(chosen) < count:
            step = 1 if defects.mixed else count
            backlog += shares * step
            # Ties are broken at random: with equal weights every round is a random permutation.
            kind = int(rng.choice(np.flatnonzero(backlog >= backlog.max() - 1e-9)))
            backlog[kind] -= step
            chosen += [indices[kind]] * step
        yield tuple(chosen)
