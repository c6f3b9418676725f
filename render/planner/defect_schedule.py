"""Which flaws a scene gets, so that the counts come out as asked for any number of scenes."""

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


def deal(recipe: Recipe, seed: int, scene: int) -> tuple[int, ...]:
    """Indices into `recipe.defects.kinds` for one scene; empty for a clean one.

    Over the first n scenes, any n, every kind is dealt within one of its share (with `mixed` off: within one
    scene's worth), and the clean scenes are within one of theirs.
    """
    return _deck(msgspec.json.encode(recipe.defects, order="sorted"), seed).scene(scene)


@lru_cache(maxsize=8)
def _deck(defects: bytes, seed: int) -> _Deck:
    return _Deck(msgspec.json.decode(defects, type=Defects), seed)


class _Deck:
    """Scenes dealt so far; each depends on those before it, so they are kept."""

    def __init__(self, defects: Defects, seed: int) -> None:
        self._dealt: list[tuple[int, ...]] = []
        self._more = _dealing(defects, np.random.default_rng(SeedSequence([seed, _STREAM])))

    def scene(self, number: int) -> tuple[int, ...]:
        self._dealt += islice(self._more, max(0, number + 1 - len(self._dealt)))
        return self._dealt[number]


def _dealing(defects: Defects, rng: Generator) -> Iterator[tuple[int, ...]]:
    """Scene after scene: clean at even distances, else the kinds that are furthest behind their share."""
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
            # Equal ones in random order: with equal weights every round is a shuffled pack.
            kind = int(rng.choice(np.flatnonzero(behind >= behind.max() - 1e-9)))
            behind[kind] -= step
            chosen += [kind] * step
        yield tuple(chosen)
