"""Decoded pictures of a training, kept in memory from one epoch to the next."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: At most so much memory, and no more than this share of the machine's.
MOST_BYTES, MOST_SHARE = 1 << 30, 1 / 8
_CHANNELS = 3


class KeptPictures:
    """Pictures by their path, in memory that the processes forked from this one share.

    Whichever of them decodes a picture first keeps it for all. Two that do so at once write the same bytes.
    """

    def __init__(self, sizes: Mapping[str, tuple[int, int]], most_bytes: int) -> None:
        """Make room, in their order, for as many as fit; sizes: (width, height) px of each, as it will be kept.

        most_bytes: memory is taken only when a picture comes.
        """
        self._places: dict[str, tuple[int, slice]] = {}
        end = 0
        for path, (width, height) in sizes.items():
            length = width * height * _CHANNELS
            if end + length <= most_bytes:
                self._places[path] = (len(self._places), slice(end, end + length))
                end += length
        shared = mmap.mmap(-1, max(1, end))
        self._pixels: NDArray[np.uint8] = np.frombuffer(shared, dtype=np.uint8)
        # Of each its (height, width) as kept and as on disk; all 0 until it is there.
        rows = max(1, len(self._places))
        numbers = np.frombuffer(mmap.mmap(-1, rows * 4 * 8), dtype=np.int64)
        self._shapes: NDArray[np.int64] = numbers.reshape(rows, 4)

    def __deepcopy__(self, memo: dict[int, Any]) -> KeptPictures:
        """Stay one: mmengine copies the config that this is part of."""
        return self

    def get(self, path: str) -> tuple[NDArray[np.uint8], tuple[int, int]] | None:
        """Return a copy of a picture, (h, w, 3), and the (height, width) px of its file; None if it is not there."""
        place = self._places.get(path)
        if place is None:
            return None
        height, width, *whole = (int(n) for n in self._shapes[place[0]])
        if not whole[1]:
            return None
        pixels = self._pixels[place[1]].reshape(height, width, _CHANNELS)
        return pixels.copy(), (whole[0], whole[1])

    def put(self, path: str, picture: NDArray[np.uint8], whole: tuple[int, int]) -> None:
        """Keep a picture, if there is room for it."""
        place = self._places.get(path)
        # A file may be of another size than was said of it.
        if place is None or picture.size != place[1].stop - place[1].start:
            return
        self._pixels[place[1]] = picture.reshape(-1)
        # The shape comes after the pixels: where it is, they are whole.
        self._shapes[place[0]] = (*picture.shape[:2], *whole)


def room(processes: int) -> int:
    """Return the bytes that each of the processes that share a training may keep."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not told here
        memory = 0
    return min(MOST_BYTES, int(memory * MOST_SHARE)) // processes
