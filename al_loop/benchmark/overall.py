"""How far a whole sweep is, and how long the rest will take, in front of every bar."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager

from al_loop.console import Progress, Reporter

#: What took less was only read.
_READ_S = 2.0


class Overall:
    """A reporter for the parts of a sweep. total: how many there are, about as long as one another."""

    def __init__(self, inner: Reporter, total: int) -> None:
        """Begin with none done."""
        self._inner, self._total = inner, total
        self._done, self._spent, self._worked = 0, 0.0, 0
        self._last = time.monotonic()

    def line(self, text: str) -> None:
        """Say it."""
        self._inner.line(text)

    def progress(self, description: str) -> AbstractContextManager[Progress]:
        """Show a bar, with the whole in front of it."""
        return self._inner.progress(f"{self} · {description}")

    def step(self) -> None:
        """One part is done."""
        now = time.monotonic()
        spent, self._last = now - self._last, now
        self._done += 1
        if spent > _READ_S:
            self._spent, self._worked = self._spent + spent, self._worked + 1

    def skip(self, parts: int) -> None:
        """So many parts will not be done."""
        self._done += parts

    def __str__(self) -> str:
        """As in "7 of 24, about 18 min left"."""
        said = f"{self._done} of {self._total}"
        if not self._worked or self._done >= self._total:
            return said
        left = self._spent / self._worked * (self._total - self._done)
        return f"{said}, about {math.ceil(left / 60)} min left"
