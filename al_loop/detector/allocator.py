"""Memory that a forward pass gives back is kept for the next one."""

from __future__ import annotations

import ctypes
import os
import sys

#: Of malloc.h: no array is mapped by itself, and the heap keeps up to so many bytes that are free at its end.
_OPTIONS = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1)}
#: "system" leaves the allocator as it is.
VARIABLE = "AL_LOOP_MALLOC"


def keep_memory() -> bool:
    """Let glibc keep what large arrays took, unless the user has told it something else; return whether it does.

    By default it maps an array of many megabytes by itself and unmaps it, or gives the end of the heap back, so that
    the system clears every page anew at its first touch, more or less as the heap happens to lie
    (`benchmarks/scoring.py` and `training.py`, `--malloc system`). What a process has taken it keeps until it ends. Other
    allocators, and other systems, are left alone.
    """
    told = os.environ.get(VARIABLE) == "system" or any(name.startswith("MALLOC_") for name in os.environ)
    if sys.platform != "linux" or told or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(*option) == 1 for option in _OPTIONS.values())
