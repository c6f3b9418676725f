"""Core-set on more candidates than a block: what it does not look at could not have been picked."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng

from strategies import Candidates, select
from strategies import coreset as module
from strategies.distances import ROWS, squared_lengths, squared_to_nearest
from strategies.rows import Rows


def whole_numbers(n: int, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    """Coordinates of which squared distances are exact in single precision, many of them equal."""
    return default_rng(seed).integers(-40, 41, (n, 3)).astype(np.float32)


def in_full(points: np.ndarray, known: np.ndarray, rank: np.ndarray, k: int) -> list[int]:  # type: ignore[type-arg]
    """Greedy k-centre by its definition; of equal ones the first id."""
    nearest = np.full(len(points), np.inf)
    for centre in known:
        nearest = np.minimum(nearest, ((points - centre) ** 2).sum(axis=1))
    picked: list[int] = []
    while len(picked) < k:
        best = int(np.lexsort((rank, -nearest))[0])
        picked.append(best)
        nearest = np.minimum(nearest, ((points - points[best]) ** 2).sum(axis=1))
        nearest[picked] = -np.inf
    return picked


@pytest.mark.integration
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("labelled", [1, 150])
def test_the_same_as_in_full(labelled: int, shuffled: bool) -> None:
    n = 5 * ROWS + 17
    points, known = whole_numbers(n), whole_numbers(labelled, 1)
    names = default_rng(2).permutation(n) if shuffled else np.arange(n)
    pool = Candidates([f"{i:06d}" for i in names], np.ones(n), points, labelled=known)
    assert select("coreset", pool, 60, default_rng(0)).tolist() == in_full(points, known, names, 60)


@pytest.mark.integration
def test_of_copies_each_is_taken_once() -> None:
    n = ROWS + 5
    pool = Candidates([f"{i:06d}" for i in range(n)], np.ones(n), np.ones((n, 2)), labelled=np.ones((1, 2)))
    assert select("coreset", pool, n, default_rng(0)).tolist() == list(range(n))


def test_most_blocks_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    real = module._Cover._update

    def look(self: module._Cover, block: int) -> None:
        looked.append(block)
        real(self, block)

    monkeypatch.setattr(module._Cover, "_update", look)
    points = default_rng(0).standard_normal((20 * ROWS, 8), dtype=np.float32)
    pool = Candidates(
        [f"{i:06d}" for i in range(len(points))], np.ones(len(points)), points, labelled=points[:1]
    )
    select("coreset", pool, 25, default_rng(0))
    assert 0 < len(looked) < 20 * 25 / 3


def test_distances_to_more_centres_than_are_held_at_once() -> None:
    points, centres = whole_numbers(ROWS + 3), whole_numbers(300, 1)
    expected = ((points[:, None] - centres[None]) ** 2).sum(axis=2).min(axis=1)
    for table in (points, points.astype(np.float16), Rows(points, np.arange(len(points)))):
        distances = squared_to_nearest(table, squared_lengths(table), centres)
        np.testing.assert_array_equal(distances, expected)
