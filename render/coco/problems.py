"""Problems of a reader: one sentence for each entry left out, joined or converted, and a summary by kind."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from pathlib import Path

from render.core.files import printable

#: Most characters of a sentence; values in a file may be of any length.
_LONGEST = 400
_KINDS_SHOWN, _EXAMPLES_SHOWN = 12, 2
#: Encloses a value inside a sentence.
_MARK = "\0"


class Problem(str):
    """A sentence "WHERE: WHAT" with its kind, by which `summarise` counts.

    kind: WHAT, with "…" for every value that `shown` or `marked` put there.

    It is a string, so that a list of problems may hold plain strings too.
    """

    where: str
    what: str
    kind: str

    def __new__(cls, where: str, what: str) -> Problem:
        """Build the printable sentence."""
        problem = super().__new__(cls, _shortened(f"{where}: {what}"))
        problem.where, problem.what = _shortened(where), what
        problem.kind = _shortened(re.sub(f"{_MARK}.*?{_MARK}", "…", what, flags=re.DOTALL))
        return problem

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        """Let copies and pickles keep where, what and kind."""
        return self.where, self.what

    def of(self, source: str) -> Problem:
        """Return the problem with the name of its file."""
        return Problem(f"{source}, {self.where}", self.what)


class Problems(list[str]):
    """Problems in the order in which they were met."""

    def add(self, where: str, what: str) -> None:
        """Append a problem."""
        self.append(Problem(where, what))


def shown(value: object) -> str:
    """Return the repr of a value of the file, shortened and marked."""
    return marked(short_repr(value))


def marked(text: object) -> str:
    """Mark a text as a value, which is no part of a problem's kind."""
    return f"{_MARK}{text}{_MARK}"


def summarise(problems: Sequence[str]) -> str:
    """Return problems as lines, grouped and counted by kind; "" for none."""
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
    """Return "N problems in SOURCE:", the summary and a newline, to print before a result; "" for none."""
    if not problems:
        return ""
    name = source.name if isinstance(source, Path) else source
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return f"{count} in {printable(name)}:{summarise(problems)}\n"


def _counted(kind: str, members: Sequence[str]) -> list[str]:
    """Return the line of a kind and its first members; only `where` if the kind says the rest."""
    examples = [
        problem.where if isinstance(problem, Problem) and problem == f"{problem.where}: {kind}" else problem
        for problem in members[:_EXAMPLES_SHOWN]
    ]
    lines = [f"{len(members)} × {kind}", *(f"    {example}" for example in examples if example != kind)]
    if len(members) > _EXAMPLES_SHOWN:
        lines.append(f"    ... and {len(members) - _EXAMPLES_SHOWN} more")
    return lines


def _shortened(text: str) -> str:
    text = printable(text.replace(_MARK, ""))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100
_SHORT.maxlevel = 3
short_repr = _SHORT.repr
