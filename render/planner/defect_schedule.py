"""Schedule of flaws: which kinds each scene gets, so that shares are exact for any number of scenes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

import msgspec
import numpy as np
from numpy.random import Generator, SeedSequence

from render.recipe.distributions import draw_int
from render.recipe.tables import Defects, Recipe

_STREAM = 0xDEFEC7  # keeps these draws apart from those of the scenes


def schedule_defects(recipe: Recipe, seed: int, scene: int) -> tuple[int, ...]:
    """Return indices into `recipe.defects.kinds` for one scene; empty for a clean scene.

    Over the first n scenes, for any n, the count of every kind is within one of its share (with `mixed` off,
    within one scene's worth), and so is the count of clean scenes.
    """
    return _schedule(msgspec.json.encode(recipe.defects, order="sorted"), seed).scene(scene)


@lru_cache(maxsize=8)
def _schedule(defects: bytes, seed: int) -> _Schedule:
    return _Schedule(msgspec.json.decode(defects, type=Defects), seed)


class _Schedule:
    """Scenes so far. Each depends on those before it, so all are stored."""

    def __init__(self, defects: Defects, seed: int) -> None:
        self._scenes: list[tuple[int, ...]] = []
        self._rest = _scene_defects(defects, np.random.default_rng(SeedSequence([seed, _STREAM])))

    def scene(self, number: int) -> tuple[int, ...]:
        self._scenes += islice(self._rest, max(0, number + 1 - len(self._scenes)))
        return self._scenes[number]


def _scene_defects(defects: Defects, rng: Generator) -> Iterator[tuple[int, ...]]:
    """Yield the kinds of each scene: none at even intervals, else those furthest behind their share."""
    shares = np.array([kind.weight for kind in defects.kinds])
    shares = shares / shares.sum() if len(shares) else shares
    behind = np.zeros(len(shares))
    due = rng.uniform()  # of a clean scene; a random start makes the expected share exact
    while True:
        due += defects.clean
        clean = due >= 1 or not len(shares)
        due -= 1 if due >= 1 else 0
        count = 0 if clean else draw_int(defects.per_scene, rng)
        chosen: list[int] = []
        while len(chosen) < count:
            step = 1 if defects.mixed else count
            behind += shares * step
            # Ties are broken at random: with equal weights every round is a random permutation.
            kind = int(rng.choice(np.flatnonzero(behind >= behind.max() - 1e-9)))
            behind[kind] -= step
            chosen += [kind] * step
        yield tuple(chosen)
