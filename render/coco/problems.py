"""What a reader has left out, joined or converted: one sentence each, and a summary by kind."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from pathlib import Path

from render.core.files import printable

#: Longest sentence; values of foreign files may be of any length.
_LONGEST = 400
_KINDS_SHOWN, _EXAMPLES_SHOWN = 12, 2


class Problem(str):
    """A sentence "WHERE: WHAT", and its kind: `summarise` counts the sentences of one kind together.

    A plain string to everyone else, so that lists of problems may hold both.
    """

    where: str
    what: str
    kind: str

    def __new__(cls, where: str, what: str, kind: str = "") -> Problem:
        """Make the sentence printable on any terminal.  kind: `what` where it is the same for all of the kind."""
        made = super().__new__(cls, _shortened(printable(f"{where}: {what}")))
        made.where = _shortened(printable(where))
        made.what = what
        made.kind = _shortened(printable(kind or what))
        return made

    def __getnewargs__(self) -> tuple[str, str, str]:  # type: ignore[override]
        """Make copies and pickles of a problem problems again."""
        return self.where, self.what, self.kind

    def of(self, source: str) -> Problem:
        """Return the problem with the name of the file that it is in."""
        return Problem(f"{source}, {self.where}", self.what, self.kind)


def shown(value: object) -> str:
    """Return a foreign value as Python writes it, cut to a length that can be read."""
    return _SHORT.repr(value)


def summarise(problems: Sequence[str]) -> str:
    """Return problems as lines, those of one kind together with their number; "" for none."""
    groups: dict[str, list[str]] = {}
    for problem in problems:
        groups.setdefault(problem.kind if isinstance(problem, Problem) else problem, []).append(problem)
    lines = []
    for kind, members in list(groups.items())[:_KINDS_SHOWN]:
        lines += [members[0]] if len(members) == 1 else _counted(kind, members)
    if len(groups) > _KINDS_SHOWN:
        rest = sum(len(members) for members in list(groups.values())[_KINDS_SHOWN:])
        lines.append(f"... and {rest} more, of {len(groups) - _KINDS_SHOWN} other kinds")
    return "".join(f"\n  {line}" for line in lines)


def listed(problems: Sequence[str], source: Path | str) -> str:
    """Return "N problems in SOURCE:" and the summary, with a last newline, to stand before a result or an error; "" for none."""
    if not problems:
        return ""
    name = source.name if isinstance(source, Path) else source
    return f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in {printable(name)}:{summarise(problems)}\n"


def _counted(kind: str, members: Sequence[str]) -> list[str]:
    """The line of a kind, and its first members: where alone, if the kind says all else."""
    examples = [
        problem.where if isinstance(problem, Problem) and problem == f"{problem.where}: {kind}" else problem
        for problem in members[:_EXAMPLES_SHOWN]
    ]
    lines = [f"{len(members)} × {kind}", *(f"    {example}" for example in examples if example != kind)]
    if len(members) > _EXAMPLES_SHOWN:
        lines.append(f"    ... and {len(members) - _EXAMPLES_SHOWN} more")
    return lines


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100
_SHORT.maxlevel = 3
