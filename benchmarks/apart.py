"""A process for one side of a comparison, so that what one does to its memory is not felt by the other."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from al_loop.detector.allocator import VARIABLE


def process(malloc: str) -> ProcessPoolExecutor:
    """One whose allocator al-loop tells to keep memory (""), or leaves as it is ("system"); it has begun."""
    os.environ[VARIABLE] = malloc
    started = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    started.submit(os.getpid).result()  # its environment is that of now
    return started
