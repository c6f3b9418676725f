"""Configure glibc to keep the memory that a forward pass frees, for the next pass."""

from __future__ import annotations

import ctypes
import os
import sys

#: Options of malloc.h: map no array separately, and keep up to that many free bytes at the end of the heap.
_OPTIONS = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1)}


def keep_memory() -> bool:
    """Let glibc keep freed memory, unless the environment sets options of malloc. Return whether it does.

    By default glibc maps an array of many megabytes separately and unmaps it, or returns the end of the heap.
    The system then clears every page again at its first use (`benchmarks/scoring.py --malloc system`).
    The process keeps its largest size until it ends. Other allocators and other systems are not changed.
    """
    has_options = any(name.startswith("MALLOC_") for name in os.environ)
    if sys.platform != "linux" or has_options or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(*option) == 1 for option in _OPTIONS.values())
