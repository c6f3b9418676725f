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


@pytest.mark.parametrize("small", [4, 2048])
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
