"""Names of many images, as bytes in an array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from strategies.rows import IntArray, Rows

Names = NDArray[np.bytes_]

_PIECE = 65_536  # names that are text, or compared, at a time
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio
_KEY = 16  # characters of a name that it is looked up by


class Ids(Sequence[str]):
    """Names of n images, none of them twice; read like a tuple of strings, and not written.

    A million hashes are 64 MB here, or nothing where they are mapped from a file; as strings they are 120 MB.
    """

    def __init__(self, names: Names | Rows) -> None:
        """(n,) UTF-8."""
        self._names = names

    @classmethod
    def of(cls, names: Iterable[str]) -> Ids:
        """Put names in an array, unless they are."""
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
        """One name; or some, without a copy: of a slice, an index or a mask."""
        if isinstance(key, int | np.integer):
            return bytes(self._names[key].item()).decode()
        if isinstance(key, slice) and isinstance(self._names, np.ndarray):
            return Ids(self._names[key])
        rows: IntArray = np.arange(len(self))[key]
        return Ids(Rows.of(self._names, rows))

    def __iter__(self) -> Iterator[str]:
        """Read all names, some at a time."""
        for piece in self._pieces():
            yield from map(bytes.decode, piece.tolist())

    def __contains__(self, name: object) -> bool:
        """Whether a name is here. O(n): ask for many by `places`."""
        return isinstance(name, str) and bool((self.places(Ids.of([name])) >= 0).all())

    def __eq__(self, other: object) -> bool:
        """Whether both are the same names in the same order."""
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        if len(self) != len(other):
            return False
        pairs = zip(self._pieces(), Ids.of(other)._pieces(), strict=True)
        return all(bool((mine == theirs).all()) for mine, theirs in pairs)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Show the first names, and how many there are."""
        return f"Ids({list(self[:3])}, {len(self)} in all)"

    def places(self, wanted: Ids) -> IntArray:
        """(n of `wanted`,) where each of `wanted` stands here, or -1. O(n log n), 24 bytes a name.

        The first 64 bits of a hash are sorted and looked up, and the names found are compared. Where names
        begin alike, all of them are sorted.
        """
        places = np.full(len(wanted), -1)
        if len(self) == 0:
            return places
        keys = np.concatenate([_keys(piece) for piece in self._pieces()])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        if self._short or (keys[1:] == keys[:-1]).any():
            return self._places_by_names(wanted)
        for start, piece in zip(range(0, len(wanted), _PIECE), wanted._pieces(), strict=True):
            at = order[np.minimum(np.searchsorted(keys, _keys(piece)), len(self) - 1)]
            places[start : start + _PIECE] = np.where(self._names[at] == piece, at, -1)
        return places

    def ranks(self) -> IntArray:
        """(n,) the place of each name in the order of all; ValueError where one comes twice."""
        if self._rising():  # as a pool read from a database
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
        """(n,) a pseudo-random number for each name, a function of the name and of `salt` alone."""
        keys: NDArray[np.uint64] = np.concatenate(
            [np.zeros(0, np.uint64), *(_keys(piece) for piece in self._pieces())]
        )
        # Each bit of a product depends on those below it alone: the high half, which says most, is folded
        # down between two.
        for _ in range(2):
            keys = (keys ^ np.uint64(salt)) * _ODD
            keys ^= keys >> np.uint64(32)
        return keys

    @property
    def _short(self) -> bool:
        return self._names.dtype.itemsize < _KEY

    def _pieces(self) -> Iterator[Names]:
        for start in range(0, len(self), _PIECE):
            yield np.asarray(self._names[start : start + _PIECE])

    def _rising(self) -> bool:
        last: Any = None
        for piece in self._pieces():
            if not np.less(piece[:-1], piece[1:]).all() or (last is not None and not last < piece[0]):
                return False
            last = piece[-1]
        return True

    def _places_by_names(self, wanted: Ids) -> IntArray:
        names = np.concatenate(list(self._pieces()))
        order = np.argsort(names, kind="stable")
        names = names[order]
        places = []
        for piece in wanted._pieces():
            at = np.minimum(np.searchsorted(names, piece), len(self) - 1)
            places.append(np.where(names[at] == piece, order[at], -1))
        return np.concatenate([np.zeros(0, np.int64), *places])


def _keys(names: Names) -> NDArray[np.uint64]:
    """(n,) the first 16 characters, each as four bits: of the digits of a hash they differ."""
    if names.dtype.itemsize < _KEY:
        names = names.astype(f"S{_KEY}")
    keys = np.zeros(len(names), np.uint64)
    for column in np.ascontiguousarray(names).view(np.uint8).reshape(len(names), -1)[:, :_KEY].T:
        keys = (keys << np.uint64(4)) | ((column & 15) + 9 * (column >> 6)).astype(np.uint64)
    return keys
