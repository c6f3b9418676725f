"""Fingerprints: different bits, near-duplicates of picks, groups of all."""

from __future__ import annotations

import numpy as np
import pytest

from al_loop.structures import fingerprints as module
from al_loop.structures.fingerprints import NEAR, Fingerprints, different_bits


def bits(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.uint64)


def of(*numbers: int) -> Fingerprints:
    return Fingerprints(bits(*numbers), np.ones(len(numbers), dtype=bool))


def flipped(rng: np.random.Generator, value: int, count: int) -> int:
    for bit in rng.choice(64, count, replace=False):
        value ^= 1 << int(bit)
    return value


def test_bits_that_differ_are_counted() -> None:
    pairs = [(0, 0, 0), (0, 2**64 - 1, 64), (5, 6, 2), (2**63, 0, 1), (2**63, 1, 2)]
    for a, b, count in pairs:
        assert int(different_bits(bits(a), np.uint64(b))[0]) == count
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 2**64, 500, dtype=np.uint64) for _ in range(2))
    assert different_bits(a, b).tolist() == [(int(x) ^ int(y)).bit_count() for x, y in zip(a, b, strict=True)]


def test_of_near_images_the_first_stays() -> None:
    some = of(0, 0b1111, 0b11111, 2**40 - 1, 0)
    assert some.near([0]).tolist() == [True, True, False, False, True]
    assert some.near([1]).tolist() == [True, True, True, False, True]
    assert some.distinct([4, 3, 1, 2, 0]) == [4, 3, 2]
    assert some.distinct([]) == []


def test_an_image_without_a_fingerprint_is_near_no_other() -> None:
    some = Fingerprints(bits(0, 0, 0), np.array([True, False, True]))
    assert some.near([1]).tolist() == [False, True, False]
    assert some.near([0]).tolist() == [True, False, True]
    assert some.distinct([1, 0, 2]) == [1, 0]
    assert [group.tolist() for group in some.groups()] == [[0, 2]]


def test_a_film_is_more_than_one_group() -> None:
    """Each frame differs from the one before in two bits: the first is near the next two."""
    frames = [(1 << 2 * number) - 1 for number in range(9)]
    assert [group.tolist() for group in of(*frames).groups()] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert of().groups() == []
    assert of(0xFF, 2**50).groups() == []


@pytest.mark.parametrize("small", [64, 2048])
def test_groups_are_those_of_all_comparisons(monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    monkeypatch.setattr(module, "_SMALL", small)
    rng = np.random.default_rng(1)
    centres = [int(rng.integers(0, 2**64, dtype=np.uint64)) for _ in range(20)]
    values = [flipped(rng, centres[int(rng.integers(20))], int(rng.integers(0, 7))) for _ in range(300)]
    some, left, expected = of(*values), set(range(300)), []
    for row in range(300):
        if row in left:
            group = [other for other in sorted(left) if (values[row] ^ values[other]).bit_count() <= NEAR]
            left -= set(group)
            expected += [group] if len(group) > 1 else []
    assert [group.tolist() for group in some.groups()] == expected
    assert len(expected) > 10


def test_the_first_near_image_of_another_set() -> None:
    rng = np.random.default_rng(2)
    centres = [int(rng.integers(0, 2**64, dtype=np.uint64)) for _ in range(9)]
    ours, theirs = (
        [flipped(rng, centres[int(rng.integers(9))], int(rng.integers(0, 6))) for _ in range(count)]
        for count in (120, 40)
    )
    known = np.arange(40) != 3
    found = of(*ours).first_near(Fingerprints(bits(*theirs), known))
    for row, value in enumerate(ours):
        near = [n for n, other in enumerate(theirs) if known[n] and (value ^ other).bit_count() <= NEAR]
        assert found[row] == (near[0] if near else -1)
    assert (found >= 0).sum() > 20
    assert of(1, 2).first_near(of()).tolist() == [-1, -1]
    none = Fingerprints(bits(1, 2), np.array([False, True]))
    assert none.first_near(of(1, 2)).tolist() == [-1, 0]


def test_many_that_are_alike_take_little_memory() -> None:
    """All differ from the first in at most two bits: their pairs are too many to keep."""
    base, pairs = 12345, [(a, b) for a in range(64) for b in range(a)]
    values = [base, *(base ^ (1 << a) ^ (1 << b) for a, b in pairs)] * 2
    (group,) = of(*values).groups()
    assert len(group) == len(values)
