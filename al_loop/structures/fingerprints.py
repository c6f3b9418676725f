"""Fingerprints of images: two that differ in few bits show almost the same picture."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Largest number of different bits of near-duplicates, of 64.
NEAR = 4
_BITS = 64
#: Groups of equal bits that are this small are compared pair by pair; larger ones are split, this often.
_SMALL, _SPLITS = 2048, 2

Bits = NDArray[np.uint64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """Fingerprints of n images.

    values: (n,) 64 bits each.
    known: (n,) whether the image has one. An image without is near no other.
    """

    values: Bits
    known: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.values)

    def without(self, names: Collection[str], ids: Sequence[str]) -> Fingerprints:
        """Return the same without the fingerprints of some images. ids: of all images."""
        left_out = set(names)
        return Fingerprints(self.values, self.known & np.array([name not in left_out for name in ids], bool))

    def near(self, rows: Sequence[int] | Rows) -> NDArray[np.bool_]:
        """Return whether each image is a near-duplicate of one of the rows, or is one, (n,)."""
        found = np.zeros(len(self), dtype=bool)
        for row in rows:
            found[row] = True
            if self.known[row]:
                found |= self.near_value(self.values[row])
        return found

    def first_near(self, others: Fingerprints) -> Rows:
        """Return for each image the first near-duplicate of another set, or -1, (n,).

        Cost: for evenly spread bits O(n m) comparisons divided by 1600, for m others.
        """
        found = np.full(len(self), len(others))
        theirs, bits = np.flatnonzero(others.known), np.arange(_BITS)
        for part in range(NEAR + 1):
            mask = _mask(bits[part :: NEAR + 1])
            key = others.values[theirs] & mask
            order = np.argsort(key, kind="stable")
            ours = self.values & mask
            start, end = (np.searchsorted(key[order], ours, side) for side in ("left", "right"))
            for step in range(int((end - start).max(initial=0))):
                rows = np.flatnonzero(self.known & (start + step < end))
                other = theirs[order[start[rows] + step]]
                near = different_bits(self.values[rows], others.values[other]) <= NEAR
                found[rows[near]] = np.minimum(found[rows[near]], other[near])
        return np.where(found < len(others), found, -1)

    def near_value(self, value: np.uint64) -> NDArray[np.bool_]:
        """Return whether each image is a near-duplicate of an image with this fingerprint, (n,)."""
        return self.known & (different_bits(self.values, value) <= NEAR)

    def distinct(self, rows: Sequence[int]) -> list[int]:
        """Return the rows that are no near-duplicates of an earlier row, in their order."""
        kept: list[int] = []
        for row in rows:
            if not kept or not _near(self, row, np.asarray(kept)):
                kept.append(int(row))
        return kept

    def groups(self) -> list[Rows]:
        """Return the near-duplicates: of each group of two or more, its rows, ascending.

        The first row of a group is the first that is in no earlier group; the others are its near-duplicates
        that are in none. A slow change, as in a film, does not make one group of all.

        Cost: for evenly spread bits O(n²) comparisons divided by 1600; O(n + pairs) memory.
        """
        rows = np.flatnonzero(self.known)
        values, inverse = np.unique(self.values[rows], return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        alike = np.split(rows[order], np.flatnonzero(np.diff(inverse[order])) + 1) if len(rows) else []
        neighbours = _neighbours(values)
        leader = np.full(len(values), -1)
        for value in np.argsort([members[0] for members in alike], kind="stable"):
            if leader[value] < 0:
                near = neighbours.of(value)
                leader[[value, *near[leader[near] < 0]]] = value
        grouped = leader[inverse]
        order = np.argsort(grouped, kind="stable")
        parts = np.split(rows[order], np.flatnonzero(np.diff(grouped[order])) + 1) if len(rows) else []
        return sorted((np.sort(part) for part in parts if len(part) > 1), key=lambda part: int(part[0]))


def different_bits(values: Bits, other: Bits | np.uint64) -> NDArray[np.uint64]:
    """Return the number of different bits of each pair."""
    x = np.bitwise_xor(values, other)
    # Sums of neighbouring bits, in fields of 2, 4 and 8 bits; the product adds the eight bytes up.
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.asarray((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


def _near(fingerprints: Fingerprints, row: int, others: Rows) -> bool:
    values, known = fingerprints.values, fingerprints.known
    some = others[known[others]]
    return bool(known[row] and (different_bits(values[some], values[row]) <= NEAR).any())


@dataclass(frozen=True, eq=False)
class _Neighbours:
    """Neighbours of each of n values: those of i are ids[starts[i] : starts[i + 1]]."""

    starts: Rows
    ids: Rows

    def of(self, value: int) -> Rows:
        return self.ids[self.starts[value] : self.starts[value + 1]]


def _neighbours(values: Bits) -> _Neighbours:
    """Return the values within NEAR bits of each of n distinct values."""
    n = len(values)
    keys = [a * n + b for a, b in _near_pairs(values, np.arange(n), np.arange(_BITS), _SPLITS)]
    unique = np.unique(np.concatenate([np.zeros(0, np.int64), *keys]))
    first, second = unique // max(n, 1), unique % max(n, 1)
    both = np.concatenate([first, second]), np.concatenate([second, first])
    order = np.argsort(both[0], kind="stable")
    counts = np.bincount(both[0], minlength=n)
    return _Neighbours(np.concatenate([[0], np.cumsum(counts)]), both[1][order])


def _near_pairs(values: Bits, rows: Rows, bits: Rows, splits: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield pairs (a, b), a < b, of near values among rows; some more than once.

    bits: positions in which the values of the rows may differ. Of NEAR + 1 parts of these, near values are
        equal in one at least: only values that are equal in a part are compared.
    splits: how often groups of equal values are split further. Of a larger group that is left, only pairs
        with a leader are found: the first value, then the first that is near no earlier leader.
    """
    if len(rows) <= _SMALL:
        a, b = np.nonzero(different_bits(values[rows][:, None], values[rows][None]) <= NEAR)
        yield rows[a[a < b]], rows[b[a < b]]
        return
    if not splits:
        while len(rows) > 1:
            near = different_bits(values[rows], values[rows[0]]) <= NEAR
            others = rows[near][1:]
            yield np.full(len(others), rows[0]), others
            rows = rows[~near]
        return
    for part in range(NEAR + 1):
        chosen = bits[part :: NEAR + 1]
        key = values[rows] & _mask(chosen)
        order = np.argsort(key, kind="stable")
        rest = np.setdiff1d(bits, chosen)
        for group in np.split(rows[order], np.flatnonzero(np.diff(key[order])) + 1):
            if len(group) > 1:
                yield from _near_pairs(values, np.sort(group), rest, splits - 1)


def _mask(bits: Rows) -> np.uint64:
    """Return a value with ones at these positions."""
    return np.uint64(np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64)))
