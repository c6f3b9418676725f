"""Output that several commands share."""

from __future__ import annotations

import webbrowser
from collections.abc import Iterable, Mapping, Sequence

from al_loop.core.console import say
from al_loop.core.files import printable


def say_lines(lines: Iterable[str]) -> None:
    """Print each line."""
    for line in lines:
        say(line)


def say_files(what: str, files: Sequence[tuple[str, str]], total: int | None = None, most: int = 20) -> None:
    """Print the first files, each with its reason, and how many more there are.

    total: number of all files, where only the first are known.
    """
    for file, reason in files[:most]:
        say(f"  {what}: {printable(file)} {printable(reason)}")
    more = (len(files) if total is None else total) - most
    if more > 0:
        say(f"  ... and {more} more")


def say_conversions(notes: Mapping[str, int]) -> None:
    """Print which conversions were applied to how many images."""
    from al_loop.images.ingest import conversion_lines

    say_lines(f"  {line}" for line in conversion_lines(notes))


def show_in_browser(address: str) -> None:
    """Open an address in the browser, if there is one."""
    if not webbrowser.open(address):
        say("no browser found: open the address yourself")
