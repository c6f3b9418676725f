"""How far a whole sweep is, and how long the rest will take, in front of every bar."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

from al_loop.core.console import Progress, Reporter

#: What took less was only read.
_READ_S = 2.0


@dataclass(frozen=True)
class WorkTime:
    """What was done and not only read. parts: how many; seconds: in all, of whoever did them."""

    parts: int = 0
    seconds: float = 0.0


class OverallProgress:
    """A reporter for the parts of a sweep. total: how many there are, about as long as one another."""

    def __init__(self, inner: Reporter, total: int, abreast: int = 1) -> None:
        """Begin with none done. abreast: parts that are worked on at a time."""
        self._inner, self._total, self._abreast = inner, total, abreast
        self._done, self.work_time = 0, WorkTime()
        self._last = time.monotonic()

    def line(self, text: str) -> None:
        """Say it."""
        self._inner.line(text)

    def progress(self, description: str) -> AbstractContextManager[Progress]:
        """Show a bar, with the whole in front of it."""
        return self._inner.progress(f"{self} · {description}")

    def step(self) -> None:
        """One part is done, here."""
        now = time.monotonic()
        spent, self._last = now - self._last, now
        self.add(1, WorkTime(1, spent) if spent > _READ_S else WorkTime())

    def add(self, parts: int, work_time: WorkTime) -> None:
        """So many parts are done, of them some by work that somebody has timed."""
        self._done += parts
        self.work_time = WorkTime(
            self.work_time.parts + work_time.parts, self.work_time.seconds + work_time.seconds
        )

    def skip(self, parts: int) -> None:
        """So many parts will not be done."""
        self._done += parts

    def show(self, bar: Progress) -> None:
        """Move a bar of the whole."""
        bar(self._done, self._total)

    def __str__(self) -> str:
        """As in "7 of 24, about 18 min left"."""
        said, left = f"{self._done} of {self._total}", self._total - self._done
        if not self.work_time.parts or left <= 0:
            return said
        # Not by the time between two steps: those side by side end together.
        seconds = self.work_time.seconds / self.work_time.parts * left / min(self._abreast, left)
        return f"{said}, about {math.ceil(seconds / 60)} min left"
