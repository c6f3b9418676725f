"""Rows of large arrays, read lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
AnyFloats = NDArray[np.floating[Any]]

#: Bytes of a block of rows: large enough for BLAS, small compared with the arrays of a large pool.
_BLOCK_BYTES = 2**25


class Stacked:
    """Two arrays (n, ...) as one, without a copy; read it through `Rows`."""

    def __init__(self, first: Table, second: Table) -> None:
        self._first, self._second = first, second
        self.shape = (len(first) + len(second), *first.shape[1:])
        self.ndim, self.dtype = first.ndim, first.dtype

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a slice, or the rows of an index."""
        index = np.arange(*key.indices(self.shape[0])) if isinstance(key, slice) else np.asarray(key)
        low = index < len(self._first)
        rows = np.empty((len(index), *self.shape[1:]), self.dtype)
        rows[low] = self._first[index[low]]
        rows[~low] = self._second[index[~low] - len(self._first)]
        return rows


class Rows:
    """Some rows of a larger array, in any order, read lazily; such as a part of a pool on disk."""

    def __init__(
        self,
        values: NDArray[Any] | Stacked,
        index: IntArray | Callable[[], IntArray],
        length: int | None = None,
    ) -> None:
        """Take rows of `values`, (n, ...). index: of the rows; or a function for it, and its `length`."""
        self.values, self._index = values, index
        count = len(index) if length is None else length  # type: ignore[arg-type]
        self.shape: tuple[int, ...] = (count, *values.shape[1:])
        self.ndim: int = values.ndim
        self.dtype: np.dtype[Any] = values.dtype
        self.size = int(np.prod(self.shape))

    @staticmethod
    def of(values: NDArray[Any] | Stacked | Rows, index: IntArray) -> Rows:
        """Return rows of an array, or of `Rows`."""
        if isinstance(values, Rows):
            return Rows(values.values, values.index[index])
        return Rows(values, index)

    @staticmethod
    def later(values: NDArray[Any] | Stacked | Rows, index: Callable[[], IntArray], length: int) -> Rows:
        """Return rows whose index is computed on first use."""
        if isinstance(values, Rows):
            return Rows(values.values, lambda: values.index[index()], length)
        return Rows(values, index, length)

    @cached_property
    def index(self) -> IntArray:
        """Indices of the rows in the larger array."""
        return self._index() if callable(self._index) else self._index

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read rows: one, a slice, or those of an index."""
        index = self.index[key]
        if index.ndim == 0:
            return np.asarray(self[[key]][0])
        if isinstance(key, slice) and len(index) and index[-1] - index[0] == len(index) - 1 and self.rising:
            return np.asarray(self.values[index[0] : index[-1] + 1])  # adjacent rows: no copy
        return np.asarray(self.values[index])

    @cached_property
    def rising(self) -> bool:
        """Whether the rows are in the order of the larger array."""
        return bool((np.diff(self.index) > 0).all())

    def __array__(self, dtype: Any = None) -> NDArray[Any]:
        """Read all rows."""
        return np.asarray(self[:], dtype)

    def astype(self, dtype: Any) -> NDArray[Any]:
        """Read all rows as another type."""
        return self[:].astype(dtype)


Table = AnyFloats | Rows


def blocks(values: Table, rows: int | None = None) -> Iterator[tuple[int, AnyFloats]]:
    """Yield blocks of rows with the index of their first row. rows: of a block; default: _BLOCK_BYTES."""
    width = max(1, values.size // max(1, len(values))) * 8
    step = rows or max(1, _BLOCK_BYTES // width)
    for start in range(0, len(values), step):
        yield start, values[start : start + step]
