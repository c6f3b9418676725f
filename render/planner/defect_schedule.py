"""Schedule of flaws: which kinds each scene gets. Shares are exact for any number of scenes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

import msgspec
import numpy as np
from numpy.random import Generator, SeedSequence

from render.recipe.distributions import draw_int
from render.recipe.tables import Defects, Recipe

_STREAM = 0xDEFEC7  # random stream of the schedule, independent of the streams of the scenes


def schedule_defects(recipe: Recipe, seed: int, scene: int) -> tuple[int, ...]:
    """Return indices into `recipe.defects.kinds` for one scene; empty for a clean scene.

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
        self._upcoming = _scene_defects(defects, np.random.default_rng(SeedSequence([seed, _STREAM])))

    def scene(self, number: int) -> tuple[int, ...]:
        self._scenes += islice(self._upcoming, max(0, number + 1 - len(self._scenes)))
        return self._scenes[number]


def _scene_defects(defects: Defects, rng: Generator) -> Iterator[tuple[int, ...]]:
    """Yield the kinds of each scene: none at even intervals, else the kinds furthest behind their share."""
    shares = np.array([kind.weight for kind in defects.kinds])
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
            chosen += [kind] * step
        yield tuple(chosen)
