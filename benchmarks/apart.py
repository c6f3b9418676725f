"""A process for one side of a comparison, so that what one does to its memory is not felt by the other."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context


def process(malloc: str) -> ProcessPoolExecutor:
    """Start one whose allocator al-loop tells to keep memory (""), or leaves alone ("system")."""
    os.environ.pop("MALLOC_PERTURB_", None)
    if malloc == "system":
        os.environ["MALLOC_PERTURB_"] = (
            "0"  # glibc's default; al-loop sees that malloc has options and leaves it alone
        )
    started = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    started.submit(os.getpid).result()  # its environment is that of now
    return started
