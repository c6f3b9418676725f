"""Progress of a whole benchmark, with an estimate of the time left."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

from al_loop.core.console import Progress, Reporter

#: A run that took less was only read.
_READ_S = 2.0


@dataclass(frozen=True)
class WorkTime:
    """Runs that were done and not only read.

    runs: number.
    seconds: in all processes together.
    """

    runs: int = 0
    seconds: float = 0.0


class OverallProgress:
    """A reporter that puts the progress of the whole benchmark in front of each bar."""

    def __init__(self, reporter: Reporter, total: int, parallel: int = 1) -> None:
        """Begin with no run done.

        total: number of runs, of about equal length.
        parallel: runs at a time.
        """
        self._reporter, self._total, self._parallel = reporter, total, parallel
        self._done, self.work_time = 0, WorkTime()
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
        self.add(1, WorkTime(1, seconds) if seconds > _READ_S else WorkTime())

    def add(self, runs: int, work_time: WorkTime) -> None:
        """Count runs; work_time: of those among them that were not only read."""
        self._done += runs
        self.work_time = WorkTime(
            self.work_time.runs + work_time.runs, self.work_time.seconds + work_time.seconds
        )

    def advance_to(self, runs: int) -> None:
        """Set the number of runs that are done or will not be done."""
        self._done = runs

    def show(self, bar: Progress) -> None:
        """Move a bar of the whole."""
        bar(self._done, self._total)

    def __str__(self) -> str:
        """As in "7 of 24, about 18 min left"."""
        left = self._total - self._done
        if not self.work_time.runs or left <= 0:
            return f"{self._done} of {self._total}"
        # Not by the time between two steps: parallel runs end together.
        seconds = self.work_time.seconds / self.work_time.runs * left / min(self._parallel, left)
        return f"{self._done} of {self._total}, about {math.ceil(seconds / 60)} min left"
