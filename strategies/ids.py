"""Names of many images, as bytes in an array."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from strategies.rows import IntArray, Rows

Names = NDArray[np.bytes_]

_PIECE = 65_536  # names that are decoded or compared at a time
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio
_KEY = 16  # characters of a name that make its key


class Ids(Sequence[str]):
    """Distinct names of n images; an immutable sequence of strings.

    A million hashes take 64 MB here, or none if they are mapped from a file; as strings they take 120 MB.
    """

    def __init__(self, names: Names | Rows) -> None:
        """Take (n,) names in UTF-8."""
        self._names = names

    @classmethod
    def of(cls, names: Iterable[str]) -> Ids:
        """Convert names to `Ids`."""
        if isinstance(names, Ids):
            return names
        return cls(np.array([name.encode() for name in names], np.bytes_))

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._names)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice | IntArray | NDArray[np.bool_]) -> Ids: ...
    def __getitem__(self, key: int | slice | IntArray | NDArray[np.bool_]) -> str | Ids:
        """Return one name, or those of a slice, an index or a mask, without a copy."""
        if isinstance(key, int | np.integer):
            return bytes(self._names[key].item()).decode()
        if isinstance(key, slice) and isinstance(self._names, np.ndarray):
            return Ids(self._names[key])
        rows: IntArray = np.arange(len(self))[key]
        return Ids(Rows.of(self._names, rows))

    def __iter__(self) -> Iterator[str]:
        """Yield all names."""
        for piece in self._pieces():
            yield from map(bytes.decode, piece.tolist())

    def __contains__(self, name: object) -> bool:
        """Whether a name is here. O(n): for many names use `places`."""
        return isinstance(name, str) and bool((self.places(Ids.of([name])) >= 0).all())

    def __eq__(self, other: object) -> bool:
        """Whether both have the same names in the same order."""
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        if len(self) != len(other):
            return False
        pairs = zip(self._pieces(), Ids.of(other)._pieces(), strict=True)
        return all(bool((a == b).all()) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Show the first names and their number."""
        return f"Ids({list(self[:3])}, {len(self)} in all)"

    def places(self, wanted: Ids) -> IntArray:
        """Return the index of each of `wanted`, or -1, shape (len(wanted),). O(n log n), 24 bytes per name.

        The first 64 bits of hashes are sorted and looked up, then whole names are compared. If these bits are
        not distinct, whole names are sorted.
        """
        if len(self) == 0:
            return np.full(len(wanted), -1)
        keys = self._all_keys()
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        if self._names.dtype.itemsize < _KEY or (keys[1:] == keys[:-1]).any():
            names = np.concatenate(list(self._pieces()))
            order = np.argsort(names, kind="stable")
            return self._looked_up(wanted, names[order], order, lambda piece: piece)
        return self._looked_up(wanted, keys, order, _keys)

    def ranks(self) -> IntArray:
        """Return the place of each name in sorted order, (n,); ValueError if one is repeated."""
        if self._rising():  # such as a pool from a database
            return np.arange(len(self))
        names = np.concatenate(list(self._pieces()))
        order = np.argsort(names, kind="stable")
        repeated = int((names[order[1:]] == names[order[:-1]]).sum())
        if repeated:
            raise ValueError(f"ids must be distinct, got {repeated} repeated")
        rank = np.empty(len(self), dtype=np.int64)
        rank[order] = np.arange(len(self))
        return rank

    def random_keys(self, salt: int) -> NDArray[np.uint64]:
        """Return a pseudo-random number for each name, (n,), that depends on the name and `salt` alone."""
        keys = self._all_keys()
        # Each bit of a product depends only on lower bits, so the high half is folded down after each.
        for _ in range(2):
            keys = (keys ^ np.uint64(salt)) * _ODD
            keys ^= keys >> np.uint64(32)
        return keys

    def _all_keys(self) -> NDArray[np.uint64]:
        return np.concatenate([np.zeros(0, np.uint64), *map(_keys, self._pieces())])

    def _pieces(self) -> Iterator[Names]:
        for start in range(0, len(self), _PIECE):
            yield np.asarray(self._names[start : start + _PIECE])

    def _looked_up(
        self, wanted: Ids, keys: NDArray[Any], order: IntArray, key_of: Callable[[Names], NDArray[Any]]
    ) -> IntArray:
        """Return the places of names by their keys; keys: sorted, those of the names at `order`."""
        places = [np.zeros(0, np.int64)]
        for piece in wanted._pieces():
            at = order[np.minimum(np.searchsorted(keys, key_of(piece)), len(self) - 1)]
            places.append(np.where(self._names[at] == piece, at, -1))
        return np.concatenate(places)

    def _rising(self) -> bool:
        last: Any = None
        for piece in self._pieces():
            if not np.less(piece[:-1], piece[1:]).all() or (last is not None and not last < piece[0]):
                return False
            last = piece[-1]
        return True


def _keys(names: Names) -> NDArray[np.uint64]:
    """Return the first 16 characters of each name, (n,), four bits each: distinct for hexadecimal digits."""
    if names.dtype.itemsize < _KEY:
        names = names.astype(f"S{_KEY}")
    keys = np.zeros(len(names), np.uint64)
    for column in np.ascontiguousarray(names).view(np.uint8).reshape(len(names), -1)[:, :_KEY].T:
        keys = (keys << np.uint64(4)) | ((column & 15) + 9 * (column >> 6)).astype(np.uint64)
    return keys
