"""Progress of a whole benchmark, with an estimate of the time left."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

from al_loop.core.console import Progress, Reporter

#: A run that took less was only read.
_READ_S = 2.0


class OverallProgress:
    """A reporter that puts the progress of the whole benchmark in front of each bar.

    done, total: number of runs.
    work_s: seconds of each run that was done and not only read, in all processes.
    """

    def __init__(self, reporter: Reporter, total: int, parallel: int = 1) -> None:
        """Begin with no run done.

        total: number of runs, of about equal length.
        parallel: runs at a time.
        """
        self._reporter, self._parallel = reporter, parallel
        self.done, self.total, self.work_s = 0, total, list[float]()
        self._last = time.monotonic()

    def line(self, text: str) -> None:
        """Report a line."""
        self._reporter.line(text)

    def progress(self, description: str) -> AbstractContextManager[Progress]:
        """Show a bar."""
        return self._reporter.progress(f"{self} · {description}")

    def step(self) -> None:
        """Count one run, done in this process since the last step."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        self.add(1, [seconds] if seconds > _READ_S else [])

    def add(self, runs: int, work_s: Sequence[float]) -> None:
        """Count runs that are done, or will not be done; work_s: seconds of those that were not only read."""
        self.done += runs
        self.work_s += work_s

    def __str__(self) -> str:
        """As in "7 of 24, about 18 min left"."""
        left = self.total - self.done
        if not self.work_s or left <= 0:
            return f"{self.done} of {self.total}"
        # Not by the time between two steps: parallel runs end together.
        seconds = sum(self.work_s) / len(self.work_s) * left / min(self._parallel, left)
        return f"{self.done} of {self.total}, about {math.ceil(seconds / 60)} min left"
