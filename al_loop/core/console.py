"""Output of a command: lines, JSON and progress bars."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from al_loop.core.urls import masked
from render.core.files import printable, visible

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

Progress = Callable[..., None]


def say(text: str, *, err: bool = False) -> None:
    """Print text for people, with secrets in addresses masked."""
    print(visible(masked(text)), file=sys.stderr if err else sys.stdout, flush=True)


def say_json(text: str) -> None:
    """Print JSON, with terminal control characters as JSON escapes."""
    print("".join(c if printable(c) == c else json.dumps(c)[1:-1] for c in masked(text)), flush=True)


class Reporter(Protocol):
    """Receives lines and progress of the loop."""

    def line(self, text: str) -> None:
        """Report what a stage did."""

    def progress(self, description: str) -> AbstractContextManager[Progress]:
        """Show a bar; the callback takes (done, total) and an optional text."""


class Silent:
    """Keeps the lines, and prints nothing."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        """Keep the line."""
        self.lines.append(text)

    @contextmanager
    def progress(self, description: str) -> Iterator[Progress]:
        """Return a callback that does nothing."""
        yield lambda done, total, text="": None


class Terminal:
    """Prints lines to stdout and progress bars to stderr."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = None  # a line must not run into it

    def line(self, text: str) -> None:
        """Print a line, above the bar."""
        if self._bar is not None:
            self._bar.stop()
        say(text)
        if self._bar is not None:
            self._bar.start()

    @contextmanager
    def progress(self, description: str) -> Iterator[Progress]:
        """Show a bar while the block runs."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("  {task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        # Not sys.stderr at the time of printing, which the trainer redirects to its log.
        console = Console(file=sys.stderr)
        with RichProgress(
            *columns,
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not console.is_terminal,
        ) as bar:
            task = bar.add_task(visible(description), total=None, note="")
            self._bar = bar if console.is_terminal else None

            def callback(done: int, total: int, text: str = "") -> None:
                bar.update(task, completed=done, total=total, note=visible(text))

            try:
                yield callback
            finally:
                self._bar = None
